/** Stands between a client and a PostgreSQL server on a socket, and cuts connections at a chosen moment. */

import { createServer, connect, type Server, type Socket } from 'node:net';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** How libpq names the socket of the default port. */
const SOCKET = '.s.PGSQL.5432';

export class CuttingProxy {
  /** How many connections were cut. */
  cuts = 0;
  private readonly folder: string;
  private readonly server: Server;
  private readonly sockets = new Set<Socket>();
  private cutAt: string | undefined;

  private constructor(folder: string, server: Server) {
    this.folder = folder;
    this.server = server;
  }

  /** @param target folder of the server's socket */
  static async start(target: string): Promise<CuttingProxy> {
    const folder = mkdtempSync(join(tmpdir(), 'weightgate-proxy-'));
    const server = createServer();
    const proxy = new CuttingProxy(folder, server);
    server.on('connection', (client) => {
      proxy.join(client, connect(join(target, SOCKET)));
    });
    await new Promise<void>((resolve) => server.listen(join(folder, SOCKET), resolve));
    return proxy;
  }

  /** The same database, through here. */
  addressOf(address: string): string {
    return address.replace(/host=[^&]*/, `host=${encodeURIComponent(this.folder)}`);
  }

  /** The next message with this text reaches the server, and the answer to it nobody. */
  cutAfter(text: string): void {
    this.cutAt = text;
  }

  async close(): Promise<void> {
    for (const socket of this.sockets) socket.destroy();
    await new Promise((resolve) => this.server.close(resolve));
    rmSync(this.folder, { recursive: true, force: true });
  }

  private join(client: Socket, server: Socket): void {
    let isCut = false;
    for (const [from, to] of [
      [client, server],
      [server, client],
    ] as const) {
      this.sockets.add(from);
      from.on('error', () => undefined);
      from.on('close', () => to.destroy());
    }
    client.on('data', (data) => {
      if (this.cutAt !== undefined && data.includes(this.cutAt)) {
        this.cutAt = undefined;
        isCut = true;
      }
      server.write(data);
    });
    server.on('data', (data) => {
      if (!isCut) {
        client.write(data);
        return;
      }
      this.cuts += 1;
      client.destroy();
    });
  }
}
