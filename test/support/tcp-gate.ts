import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';

/**
 * A TCP relay on loopback whose answers can be held back and whose connections can be cut: what a client sends arrives, and it never learns of it.
 */
export class TcpGate {
  readonly #pairs = new Map<Socket, Socket>();
  #held: { readonly to: Socket; readonly data: Buffer }[] | null = null;
  #refusing = false;
  #trigger: string | null = null;

  private constructor(private readonly server: Server) {}

  static open(port: number): Promise<TcpGate> {
    const server = createServer();
    const gate = new TcpGate(server);
    server.on('connection', incoming => gate.#onConnection(incoming, port));
    return new Promise((resolve, reject) => {
      server.once('error', reject);
      server.listen(0, '127.0.0.1', () => resolve(gate));
    });
  }

  get port(): number {
    return (this.server.address() as AddressInfo).port;
  }

  get connections(): number {
    return this.#pairs.size;
  }

  /** Answers wait from here on. */
  hold(): void {
    this.#held ??= [];
  }

  /** From the moment a client sends this text. */
  holdAfter(text: string): void {
    this.#trigger = text;
  }

  /** They go out, those that waited first. */
  release(): void {
    const held = this.#held ?? [];
    this.#held = null;
    for (const { to, data } of held) to.write(data);
  }

  /** All connections end, and with them the answers that wait. New ones are accepted. */
  cut(): void {
    this.#held = null;
    for (const [incoming, outgoing] of this.#pairs) {
      incoming.resetAndDestroy();
      outgoing.destroy();
    }
    this.#pairs.clear();
  }

  /** Ends what there is, and each new connection at once. */
  refuse(refusing = true): void {
    this.#refusing = refusing;
    if (refusing) this.cut();
  }

  close(): void {
    this.cut();
    this.server.close();
  }

  #onConnection(incoming: Socket, port: number): void {
    if (this.#refusing) {
      incoming.destroy();
      return;
    }
    const outgoing = connect(port, '127.0.0.1');
    this.#pairs.set(incoming, outgoing);
    incoming.setNoDelay(true);
    outgoing.setNoDelay(true);
    incoming.on('data', (data: Buffer) => {
      if (this.#trigger !== null && data.includes(this.#trigger)) {
        this.#trigger = null;
        this.hold();
      }
      outgoing.write(data);
    });
    outgoing.on('data', (data: Buffer) => {
      if (this.#held !== null) this.#held.push({ to: incoming, data });
      else incoming.write(data);
    });
    const end = (): void => {
      this.#pairs.delete(incoming);
      incoming.destroy();
      outgoing.destroy();
    };
    for (const socket of [incoming, outgoing]) socket.on('error', end).on('close', end);
  }
}
