import { register } from 'tsx/esm/api';

// A worker thread does not inherit the loader for TypeScript: register it, then begin.
register();
await import('./worker.ts');
