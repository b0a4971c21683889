/**
 * The messages between the page and the engine's worker; tests/house holds the driver's
 * side to them, the type check that of the page.
 *
 * Every message is a plain object with an `id`, chosen by the page for each request, and
 * a `kind`. Id 0 is the worker's own: the start of the runtime, and what becomes of it. A
 * request ends in one `done` or one `error`.
 *
 * From the page:
 *
 * @typedef {LoadMessage|PreflightMessage|AdapterMessage|ListMessage|VerifyMessage
 *   |GenerateMessage|StopMessage} Request
 *
 * @typedef {object} Place where a model lies
 * @property {File[]} [files] one GGUF, or all shards of a split one, in any order
 * @property {string[]} [urls] in place of files: where they are served, with ranges unless
 *   they are small
 * @property {Folder} [folder] in place of both: one that holds Ollama's store
 * @property {string} [model] its name in that store
 *
 * @typedef {object} Folder
 * @property {FileSystemDirectoryHandle} [handle]
 * @property {File[]} [files] in place of a handle: all files in it
 * @property {string[]} [paths] the path of each
 *
 * @typedef {{id: number, kind: 'load', options: LoadOptions} & Place} LoadMessage
 *
 * @typedef {object} LoadOptions
 * @property {number} [n_ctx] the context in tokens; the model's own unless said
 * @property {number} [default_ctx] how long that may be; 8192 unless said
 * @property {'f16'|'f32'} [kv]
 * @property {boolean} [large] whether the chat template is the large models'
 * @property {string} [template] a chat template that came beside the file; it is never run
 * @property {boolean} [keep] whether the model before stays until this one is complete,
 *   as long as the device has room for both
 * @property {number} [batch] tokens per submit, for measurements; by their time unless said
 * @property {Record<string, Measured>} [measured] what was measured earlier, by adapter
 * @property {string} [kernels] which kernels to use beyond those that every device runs:
 *   names with commas, or `baseline`; the fastest unless said. See kernel_options.py
 * @property {Record<string, Chosen>} [chosen] which were the fastest earlier, by adapter
 * @property {number} [lost] how often the page has lost the GPU
 *
 * @typedef {object} Measured what a device does in a second
 * @property {number} copy_bytes_per_second bytes read and bytes written
 * @property {number} dispatch_seconds of one launch among many
 * @property {number} submit_seconds of a submit with its read-back
 *
 * @typedef {Record<string, unknown>} Chosen kernels, as kernel_options.py records them; the
 *   page keeps them and gives them back
 *
 * @typedef {{id: number, kind: 'preflight', options: PreflightOptions} & Place}
 *   PreflightMessage asks what a model takes here and how fast it may be: one that is
 *   named, of which the header alone is read, or else the one that is loaded. An adapter
 *   that was not measured earlier is, in two seconds
 *
 * @typedef {LoadOptions & KeyOptions} PreflightOptions
 *
 * @typedef {object} KeyOptions
 * @property {number} [n_keys] how many tokens are in the cache; a usual number unless said
 * @property {number} [tokens_per_second] a speed that was reached there, to be set against
 *   the prediction
 *
 * @typedef {object} AdapterMessage asks what the adapter is
 * @property {number} id
 * @property {'adapter'} kind
 * @property {LoadOptions} options
 *
 * @typedef {object} ListMessage asks which models a folder holds
 * @property {number} id
 * @property {'list'} kind
 * @property {Folder} folder
 *
 * @typedef {{id: number, kind: 'verify', name?: string} & Place} VerifyMessage holds blobs
 *   to the SHA-256 that is their name; `name` is the model's, as Ollama knows it
 *
 * @typedef {{id: number, kind: 'generate'} & GenerateRequest} GenerateMessage
 *
 * @typedef {object} GenerateRequest
 * @property {ChatMessage[]} messages the conversation so far
 * @property {number[]} [begun] the tokens of a reply that was cut short: it goes on behind
 *   them, and is told from its first word on
 * @property {object[]} [tools] tool declarations, as in the chat API
 * @property {boolean} [think]
 * @property {boolean} [raw] whether the conversation is continued as the text that it is,
 *   in no chat format
 * @property {Sampling} [sampling]
 * @property {number} [max_tokens]
 * @property {boolean} [ignore_eos] whether the reply goes on behind its end, for measurements
 * @property {string[]} [stop] texts before which the reply ends
 *
 * @typedef {object} ChatMessage as in the chat API
 * @property {string} role
 * @property {string} content
 * @property {object[]} [tool_calls]
 *
 * @typedef {object} Sampling
 * @property {number} [temperature] 0 is greedy
 * @property {number} [top_k] 0 is off
 * @property {number} [top_p] 1 is off
 * @property {number} [min_p] 0 is off
 * @property {number} [repetition_penalty] 1 is off
 * @property {number} [repeat_last_n] tokens that penalties look back on; -1 is all
 * @property {number} [presence_penalty] 0 is off
 * @property {number} [frequency_penalty] 0 is off
 * @property {number} [seed] absent is random
 *
 * @typedef {object} StopMessage
 * @property {number} id the request to stop
 * @property {'stop'} kind
 *
 * To the page:
 *
 * @typedef {ProgressMessage|TokenMessage|DoneMessage|ErrorMessage} Answer
 *
 * @typedef {object} ProgressMessage
 * @property {number} id
 * @property {'progress'} kind
 * @property {string} stage `runtime`, `verify`, or a stage of loading; `room` says that the
 *   model before has been closed for this one; `prompt`, how far a long prompt is read
 * @property {number} done in bytes for what is fetched and for weights, in tokens for a
 *   prompt, else steps
 * @property {number} total 0 when not known
 * @property {string} text what is going on, for people
 * @property {Fit} [fit] in a load, once it is known
 * @property {Sampling} [sampling] once the runtime is ready: how tokens are chosen unless
 *   somebody says otherwise; its seed is random
 *
 * @typedef {object} Fit what a model takes, in bytes; see load/fit.py
 * @property {'resident'|'host-embeddings'} mode
 * @property {number} n_ctx
 * @property {'f16'|'f32'} kv
 * @property {number} total_bytes
 * @property {number} weight_bytes
 * @property {number} host_bytes of embeddings that stay in the file
 * @property {number} kv_bytes
 * @property {number} table_bytes
 * @property {number} scratch_bytes
 * @property {number} n_dispatches of a step
 * @property {number} step_bytes of the weights that a step reads
 * @property {string} verdict whether it fits, for people
 *
 * @typedef {object} TokenMessage
 * @property {number} id
 * @property {'token'} kind
 * @property {'content'|'thinking'|'tool'} channel
 * @property {string} text of a call: all of it as JSON, for people
 * @property {string} [name] of the function that is called
 * @property {string} [args] of that call, as JSON
 * @property {number[]} ids the tokens that came since the message before
 * @property {number} tokens_per_second so far; 0 where that says nothing yet
 *
 * @typedef {LoadDone|PreflightDone|AdapterDone|ListDone|VerifyDone|GenerateDone
 *   |StoppedDone} DoneMessage
 *
 * @typedef {object} Ends what ends each kind of request, if it is not stopped
 * @property {LoadDone} load
 * @property {PreflightDone} preflight
 * @property {AdapterDone} adapter
 * @property {ListDone} list
 * @property {VerifyDone} verify
 * @property {GenerateDone} generate
 *
 * @typedef {object} StoppedDone the end of what was taken back, or of an engine before it
 *   could say more
 * @property {number} id
 * @property {'done'} kind
 * @property {'stopped'} reason
 *
 * @typedef {object} LoadDone
 * @property {number} id
 * @property {'done'} kind
 * @property {Info} info
 * @property {Sampling} sampling what the file itself recommends
 * @property {Chosen} [chosen] which kernels were the fastest, to be kept for the adapter
 *
 * @typedef {object} Info of a loaded model and where it runs; see `Engine.info`
 * @property {string} name
 * @property {string} architecture
 * @property {number} n_parameters
 * @property {number} weight_bytes
 * @property {number} host_bytes
 * @property {number} kv_bytes
 * @property {'f16'|'f32'} kv
 * @property {'resident'|'host-embeddings'} mode
 * @property {number} n_ctx
 * @property {number} n_ctx_train the longest context that the model was made for
 * @property {number} n_layers
 * @property {number} dim
 * @property {number} n_vocab
 * @property {number} n_experts 0 for a dense model
 * @property {number} n_experts_used by each token
 * @property {string} format of its chat; empty where none is known
 * @property {boolean} thinks
 * @property {boolean} tools whether it can call some
 * @property {string} adapter
 * @property {string} backend
 * @property {string} kernels
 * @property {string[]} notes what a person should know
 *
 * @typedef {object} PreflightDone
 * @property {number} id
 * @property {'done'} kind
 * @property {Preflight} preflight
 *
 * @typedef {object} Preflight
 * @property {string} name
 * @property {number} n_bytes of the files
 * @property {number} n_ctx_train the longest context that the model was made for
 * @property {string} adapter
 * @property {Fit} fit
 * @property {Prediction} [prediction] absent where the device was not measured yet and a
 *   reply is under way
 * @property {Measured} [measured] likewise
 * @property {number} [reached] what share of the prediction the speed is that was given
 *
 * @typedef {object} Prediction of a step, and of the load
 * @property {number} tokens_per_second at most
 * @property {number} memory_seconds of a step: its bytes at the speed of a copy
 * @property {number} dispatch_seconds of a step: its launches and a submit
 * @property {number} [load_seconds] where a file was named whose speed could be measured
 *
 * @typedef {object} AdapterDone
 * @property {number} id
 * @property {'done'} kind
 * @property {Adapter} adapter
 *
 * @typedef {object} Adapter
 * @property {string} name
 * @property {boolean} is_software
 *
 * @typedef {object} ListDone
 * @property {number} id
 * @property {'done'} kind
 * @property {Store} store
 *
 * @typedef {object} Store as /ollama/models.json has it, with null for what is absent here
 * @property {string|null} [root]
 * @property {Line[]} models
 * @property {Problem|null} [problem]
 *
 * @typedef {object} Line what is known of a model; see `describe_entry`
 * @property {string} name
 * @property {string} full_name
 * @property {Problem|null} [problem] why it cannot be loaded; where nothing is known of the
 *   model, there is nothing else
 * @property {number} [size]
 * @property {string} [family]
 * @property {string} [parameters]
 * @property {string} [quantization]
 * @property {string[]} [capabilities] as the store has them
 * @property {StoredBlob[]} [weights]
 * @property {StoredBlob[]} [projectors]
 * @property {boolean|null} [large] whether it has the large models' chat template
 * @property {string} [template] of the store, in Go's language
 * @property {Sampling} [sampling] the model's own sampling options
 * @property {number|null} [max_tokens]
 * @property {number|null} [n_ctx]
 * @property {string[]} [stop]
 * @property {Record<string, unknown>} [params] as the store has them
 * @property {string[]} [notes] what a person should know of it
 * @property {string} [system] the model's own system prompt
 * @property {ChatMessage[]} [messages] that a conversation begins with
 *
 * @typedef {{blob: string, size: number}} StoredBlob
 *
 * @typedef {object} Problem a typed error as the store's list has it; `text` is all of it
 * @property {string} type
 * @property {string} what
 * @property {string} found
 * @property {string} expected
 * @property {string} remedy
 * @property {string} text
 *
 * @typedef {object} VerifyDone
 * @property {number} id
 * @property {'done'} kind
 * @property {number} n_bytes how much was held to its digest
 * @property {number} seconds that took
 * @property {number} bytes_per_second
 *
 * @typedef {object} GenerateDone
 * @property {number} id
 * @property {'done'} kind
 * @property {'stop'|'length'|'stopped'|'context'} reason why it ended
 * @property {number[]} ids every generated token, an ending stop token left out
 * @property {number} n_prompt
 * @property {number} n_reused prompt tokens that were still in the KV cache
 * @property {number} n_generated
 * @property {number} prefill_seconds until the first token
 * @property {number} decode_seconds from the first token to the last
 * @property {number} prefill_tokens_per_second 0 where it is not known
 * @property {number} tokens_per_second of decoding; 0 where too few tokens say nothing
 * @property {boolean} tells_speed whether the reply is long enough to tell the model's
 * @property {number} n_keys tokens in the cache, on average over the reply
 * @property {number} bytes_per_second that decoding read: weights, keys and values
 * @property {number} n_dispatches of a token's step
 * @property {number} weight_bytes that a step reads
 * @property {number} kv_bytes_read likewise, on average
 * @property {number} [predicted] tokens per second at most, where the device was measured
 * @property {number} [reached] what share of that it was
 *
 * @typedef {TypedError & {id: number, kept: boolean, fatal: boolean}} ErrorMessage
 *
 * @typedef {object} TypedError the page has some of its own
 * @property {'error'} kind
 * @property {string} type the class in pyodide_app/errors.py; `RuntimeError` where the
 *   worker itself has failed
 * @property {string} what
 * @property {string} found
 * @property {string} expected
 * @property {string} remedy
 * @property {boolean} [kept] whether a model is still loaded
 * @property {boolean} [fatal] whether the worker is of no use any more
 * @property {number} [n_ctx] the longest context that would fit; 0 where none is known
 * @property {number} [n_tokens] of a conversation that is too long; 0 where not known
 * @property {number} [n_most] how many of them fit
 */
