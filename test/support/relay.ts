import { connect, createServer, type AddressInfo, type Server } from 'node:net';

/** A TCP port on loopback that leads to a Unix socket: for clients that speak TCP only. */
export class TcpRelay {
  private constructor(
    private readonly server: Server,
    readonly port: number,
  ) {}

  static open(socketPath: string): Promise<TcpRelay> {
    const server = createServer(incoming => {
      const outgoing = connect(socketPath);
      incoming.setNoDelay(true);
      incoming.pipe(outgoing).pipe(incoming);
      incoming.on('error', () => outgoing.destroy());
      outgoing.on('error', () => incoming.destroy());
    });
    return new Promise((resolve, reject) => {
      server.once('error', reject);
      server.listen(0, '127.0.0.1', () => resolve(new TcpRelay(server, (server.address() as AddressInfo).port)));
    });
  }

  close(): void {
    this.server.close();
  }
}
