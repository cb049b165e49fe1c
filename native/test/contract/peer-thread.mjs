// A peer that is no engine: Node's own sockets on a thread of their own, told what to do by messages, one at a time.
import { createHash } from 'node:crypto';
import net from 'node:net';
import { workerData } from 'node:worker_threads';

const { port } = workerData;

let socket;
let server;
const chunks = [];
let receivedBytes = 0;
let ended = false;
let failure = '';

/** The same bytes as `pattern` in stage.ts. */
function pattern(lengthBytes, seed) {
  const bytes = Buffer.alloc(lengthBytes);
  for (let i = 0; i < lengthBytes; i++) bytes[i] = (i * 31 + (i >>> 8) * 7 + seed * 101) & 0xff;
  return bytes;
}

function use(next) {
  socket = next;
  chunks.length = receivedBytes = 0;
  ended = false;
  failure = '';
  socket.pause();
  socket.on('end', () => (ended = true));
  socket.on('error', error => (failure = error.code ?? error.message));
  socket.on('data', chunk => {
    chunks.push(chunk);
    receivedBytes += chunk.length;
  });
}

const until = async holds => {
  while (!holds()) await new Promise(resolve => setTimeout(resolve, 1));
};

/** Waits for the end of the socket: the next one is another. */
async function gone(one) {
  await until(() => one.closed);
  socket = undefined;
}

const commands = {
  listen: ({ path }) =>
    new Promise(resolve => {
      server = net.createServer({ allowHalfOpen: true, pauseOnConnect: true }, use);
      if (path === undefined) server.listen({ host: '127.0.0.1', port: 0 }, () => resolve(server.address()));
      else server.listen({ path }, () => resolve({ path }));
    }),
  connect: ({ address }) =>
    new Promise((resolve, reject) => {
      const next = net.connect(
        address.family === 'unix' ? { path: address.path } : { host: address.host, port: address.port, allowHalfOpen: true },
      );
      next.allowHalfOpen = true;
      use(next);
      next.once('connect', () => resolve()).once('error', reject);
    }),
  connected: () => until(() => socket !== undefined),
  send: ({ lengthBytes, seed }) => new Promise(resolve => socket.write(pattern(lengthBytes, seed), () => resolve())),
  /** Starts to read, and goes on until so many bytes have come, or the end. */
  async read({ lengthBytes, seed }) {
    socket.resume();
    await until(() => receivedBytes >= lengthBytes || ended || failure !== '');
    const received = Buffer.concat(chunks);
    return { receivedBytes: received.length, isSame: received.equals(pattern(lengthBytes, seed)), ended, failure };
  },
  async readDigest({ lengthBytes }) {
    socket.resume();
    await until(() => receivedBytes >= lengthBytes || ended || failure !== '');
    const hash = createHash('sha256');
    for (const chunk of chunks) hash.update(chunk);
    return { receivedBytes, digest: hash.digest('hex') };
  },
  async readToEnd() {
    socket.resume();
    await until(() => ended || failure !== '');
    return { receivedBytes, ended, failure };
  },
  halfClose: () => new Promise(resolve => socket.end(() => resolve())),
  destroy: () => gone(socket.destroy()),
  reset: () => gone(socket.resetAndDestroy()),
  stopListening: () => void server.close(),
};

port.on('message', message => {
  void Promise.resolve(commands[message.command](message)).then(
    value => port.postMessage({ value }),
    error => port.postMessage({ error: error.code ?? String(error) }),
  );
});
port.postMessage({ value: 'ready' });
