/**
 * Ends the connections of this process to a simulator. A thread that waits inside the TPM stack for a simulator that
 * is suspended cannot be stopped in any other way, and a process cannot exit while such a thread waits.
 */

import { readdirSync } from 'node:fs';
import koffi from 'koffi';

import type { SwtpmEndpoint, TctiAddress } from './tcti-address.ts';

/** Values of <sys/socket.h> and <bits/socket.h> on Linux. */
const AF_UNIX = 1;
const AF_INET = 2;
const AF_INET6 = 10;
const SHUT_RDWR = 2;
const SOCKADDR_BYTES = 128;

/** Shuts down every socket of this process that leads to the simulator; the other kinds of address have none. */
export function shutDownConnections(tcti: TctiAddress): void {
  if (tcti.kind !== 'swtpm') return;
  const libc = koffi.load('libc.so.6');
  const getpeername = libc.func(
    'int getpeername(int fd, _Out_ uint8_t *address, _Inout_ uint32_t *size)',
  ) as (descriptor: number, address: Uint8Array, size: [number]) => number;
  const shutdown = libc.func('int shutdown(int fd, int how)') as (descriptor: number, how: number) => number;
  for (const descriptor of readdirSync('/proc/self/fd').map(Number)) {
    const address = new Uint8Array(SOCKADDR_BYTES);
    const size: [number] = [address.length];
    // Fails for whatever is not a connected socket.
    if (getpeername(descriptor, address, size) !== 0) continue;
    if (leadsTo(tcti.endpoint, address.subarray(0, size[0]))) shutdown(descriptor, SHUT_RDWR);
  }
}

/** Compares the port alone for TCP, because the name of the host may stand for several addresses. */
function leadsTo(endpoint: SwtpmEndpoint, sockaddr: Uint8Array): boolean {
  const view = new DataView(sockaddr.buffer, sockaddr.byteOffset, sockaddr.length);
  if (sockaddr.length < 4) return false;
  const family = view.getUint16(0, true);
  if ('path' in endpoint) {
    const path = Buffer.from(sockaddr.subarray(2)).toString('latin1').split('\0', 1)[0];
    return family === AF_UNIX && (path === endpoint.path || path === `${endpoint.path}.ctrl`);
  }
  const port = view.getUint16(2);
  const isInternet = family === AF_INET || family === AF_INET6;
  return isInternet && (port === endpoint.port || port === endpoint.port + 1);
}
