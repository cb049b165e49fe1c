import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';

/** A TCP port on loopback that leads to a Unix socket: for clients that speak TCP only. */
export class TcpRelay {
  private constructor(
    private readonly server: Server,
    private readonly incoming: ReadonlySet<Socket>,
    readonly port: number,
  ) {}

  static open(socketPath: string): Promise<TcpRelay> {
    const all = new Set<Socket>();
    const server = createServer(incoming => {
      const outgoing = connect(socketPath);
      all.add(incoming);
      incoming.on('close', () => all.delete(incoming));
      incoming.setNoDelay(true);
      incoming.pipe(outgoing).pipe(incoming);
      incoming.on('error', () => outgoing.destroy());
      outgoing.on('error', () => incoming.destroy());
    });
    return new Promise((resolve, reject) => {
      server.once('error', reject);
      server.listen(0, '127.0.0.1', () => resolve(new TcpRelay(server, all, (server.address() as AddressInfo).port)));
    });
  }

  get connections(): number {
    return this.incoming.size;
  }

  /** Cuts the oldest `count` of the connections that there are. */
  drop(count: number): void {
    for (const socket of [...this.incoming].slice(0, count)) socket.destroy();
  }

  close(): void {
    this.server.close();
  }
}
