/**
 * The messages between the page and the download worker. A request ends in one `done` or
 * one `error`.
 *
 * @import { TypedError } from '../engine/messages.js'
 * @import { Wanted } from './address.js'
 *
 * From the page:
 *
 * @typedef {DownloadMessage|VerifyMessage|StopMessage} Request
 *
 * @typedef {object} DownloadMessage
 * @property {number} id chosen for the request
 * @property {'download'} kind
 * @property {string} model its id in store.js
 * @property {Wanted[]} [files] where a person gave its address; without them what is
 *   missing of it is fetched
 * @property {boolean} [again] what is there is thrown away first
 *
 * @typedef {object} VerifyMessage asks whether what is stored is what arrived
 * @property {number} id
 * @property {'verify'} kind
 * @property {string} model
 *
 * @typedef {object} StopMessage
 * @property {number} id the request to stop; what has arrived is kept
 * @property {'stop'} kind
 *
 * To the page:
 *
 * @typedef {ProgressMessage|DoneMessage|ErrorMessage} Answer
 *
 * @typedef {object} ProgressMessage
 * @property {number} id
 * @property {'progress'} kind
 * @property {number} done in bytes
 * @property {number} total 0 when not known
 * @property {string} text what goes on besides, for people; empty for nothing
 *
 * @typedef {object} DoneMessage
 * @property {number} id
 * @property {'done'} kind
 * @property {boolean} stopped whether it was, before its end
 *
 * @typedef {TypedError & {id: number}} ErrorMessage its type is
 *
 *   DownloadError     the server or the way to it
 *   FileFormatError   no GGUF file
 *   IntegrityError    another SHA-256 than expected; nothing of the file may be loaded
 *   StorageError      no room, or storage that cannot be used
 */
