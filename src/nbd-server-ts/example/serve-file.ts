import { ArenaRegion, createArena, createEngine } from 'uring-engine';
import { DEFAULT_LIMITS, ExportMap, FILE_EXPORT_REGION_BYTES, FileExport, NbdServer, serverRegionBytes } from 'nbd-server-ts';

// npx tsx example/serve-file.ts disk.img /tmp/nbd.sock      then: nbdinfo 'nbd+unix:///disk?socket=/tmp/nbd.sock'
const [path = 'disk.img', socket = 'nbd.sock'] = process.argv.slice(2);
const arena = createArena(serverRegionBytes(DEFAULT_LIMITS) + FILE_EXPORT_REGION_BYTES + (2 << 20));
const engine = createEngine({ arena });
const region = new ArenaRegion(arena);
const exports = new ExportMap([new FileExport(engine, region, { name: 'disk', path })]);
const server = new NbdServer({ engine, region, exports });
server.listen(engine.listen({ family: 'unix', path: socket }));
await engine.run();
