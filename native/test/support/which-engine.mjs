// Says which engine `auto` takes here and why, what asking for io_uring says, and whether it works. argv[2]: the package's directory.
import fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

const { createArena, createEngine } = await import(pathToFileURL(join(process.argv[2], 'dist', 'index.js')).href);
const arena = createArena(1 << 20);
const reasons = [];
const engine = createEngine({ arena, onFallback: reason => reasons.push(reason) });
const directory = fs.mkdtempSync(join(tmpdir(), 'ue-'));
const file = engine.files.open(join(directory, 'file'), { write: true, create: true });
const results = [];
const client = engine.register({
  onCompletion: (tag, result) => {
    results.push(result);
    if (tag === 0) engine.read(file, 4096, 4096, 0, client, 1);
    else engine.stop();
  },
});
engine.write(file, 0, 4096, 0, 0, client, 0);
await engine.run();
engine.destroy();
fs.rmSync(directory, { recursive: true });

let refusal = null;
try {
  createEngine({ arena, kind: 'io_uring' }).destroy();
} catch (error) {
  refusal = error.code;
}
console.log(JSON.stringify({ kind: engine.kind, reasons, results, refusal }));
