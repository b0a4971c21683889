/** What the page has and TypeScript's libraries do not tell of. */

// Vendored packages: the bundle has them without their types.

declare module '*/vendor/marked.esm.js' {
  export * from 'marked';
}

declare module '*/vendor/purify.es.mjs' {
  export { default } from 'dompurify';
}

declare module '*/vendor/sha256.umd.min.js' {}

/** What sha256.umd.min.js, a script that knows no modules, leaves. */
declare var hashwasm: { createSHA256: typeof import('hash-wasm').createSHA256 };

// What only some browsers have.

interface Window {
  showDirectoryPicker?(options: {
    id: string;
    mode: 'read';
  }): Promise<FileSystemDirectoryHandle>;
}

interface FileSystemHandle {
  requestPermission?(options: { mode: 'read' }): Promise<PermissionState>;
}
