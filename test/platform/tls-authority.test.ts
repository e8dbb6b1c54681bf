import { X509Certificate } from 'node:crypto';
import { createServer } from 'node:https';
import { connect } from 'node:tls';
import type { AddressInfo } from 'node:net';
import { beforeAll, describe, expect, it } from 'vitest';

import { createDevelopmentAuthority, type DevelopmentAuthority } from '../../src/platform/tls-authority.ts';

const now = Math.floor(Date.now() / 1000);
let made: DevelopmentAuthority;

beforeAll(async () => {
  made = await createDevelopmentAuthority(['release.example', '192.0.2.7'], now);
});

describe('the development authority', () => {
  it('RP-4: issues a server certificate for this machine and the given names', () => {
    const server = new X509Certificate(made.server.certificate);
    for (const name of ['localhost', 'release.example']) expect(server.checkHost(name)).toBe(name);
    for (const address of ['127.0.0.1', '::1', '192.0.2.7']) expect(server.checkIP(address)).toBe(address);
    expect(server.checkHost('elsewhere.example')).toBeUndefined();
    expect(server.ca).toBe(false);
    expect(server.keyUsage).toEqual(['1.3.6.1.5.5.7.3.1']);
  });

  it('RP-4: the authority signed the server certificate and itself, and is an authority', () => {
    const authority = new X509Certificate(made.authority.certificate);
    const server = new X509Certificate(made.server.certificate);
    expect(authority.ca).toBe(true);
    expect(server.checkIssued(authority)).toBe(true);
    expect(server.verify(authority.publicKey)).toBe(true);
    expect(authority.verify(authority.publicKey)).toBe(true);
    expect(server.serialNumber).not.toBe(authority.serialNumber);
  });

  it('RP-4: the certificates count for one year from the given time', () => {
    const { validFromDate, validToDate } = new X509Certificate(made.server.certificate);
    expect(validFromDate.getTime() / 1000).toBe(now - 3600);
    expect(validToDate.getTime() / 1000).toBe(now + 365 * 86_400);
  });

  it('RP-4: a TLS 1.3 client that pins the authority accepts the server', async () => {
    const server = createServer({ cert: made.server.certificate, key: made.server.privateKey });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as AddressInfo;
    const protocol = await new Promise((resolve, reject) => {
      const socket = connect({
        port,
        host: '127.0.0.1',
        ca: made.authority.certificate,
        minVersion: 'TLSv1.3',
      });
      socket.once('secureConnect', () => {
        resolve(socket.getProtocol());
        socket.destroy();
      });
      socket.once('error', reject);
    });
    server.close();
    expect(protocol).toBe('TLSv1.3');
  });
});
