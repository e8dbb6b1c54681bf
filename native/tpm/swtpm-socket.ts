/**
 * Reaches a simulator without the system's TPM stack: raw commands over the data channel of swtpm. As the stack
 * does, it connects anew for each command, so that several programs can take turns.
 */

import { connect, type Socket } from 'node:net';

import { RefusalError } from '../../attestation/core/refusal.ts';
import { tpmConnectionRefusals } from './refusals.ts';
import type { SwtpmEndpoint } from './tcti-address.ts';
import {
  announcedBytes,
  RESPONSE_HEADER_BYTES,
  TaskQueue,
  type TpmTransport,
  wholeResponse,
  within,
} from './transport.ts';

export interface SwtpmSocketOptions {
  readonly address: string;
  readonly endpoint: SwtpmEndpoint;
  /** How long a command may take, unless it says otherwise. */
  readonly commandSeconds: number;
}

export class SwtpmSocketTransport implements TpmTransport {
  readonly address: string;
  private readonly options: SwtpmSocketOptions;
  private readonly queue = new TaskQueue();
  private current: Socket | undefined;
  private closed = false;

  constructor(options: SwtpmSocketOptions) {
    this.address = options.address;
    this.options = options;
  }

  transmit(command: Uint8Array, timeoutSeconds = this.options.commandSeconds): Promise<Uint8Array> {
    return this.queue.run(() => this.exchange(command, timeoutSeconds));
  }

  close(): Promise<void> {
    this.closed = true;
    this.current?.destroy();
    return Promise.resolve();
  }

  private async exchange(command: Uint8Array, timeoutSeconds: number): Promise<Uint8Array> {
    if (this.closed) throw this.refusal('tpm-closed', 'an open connection', 'a closed one');
    const socket = connect(this.options.endpoint);
    this.current = socket;
    try {
      socket.write(command);
      const response = await within(this.receive(socket), timeoutSeconds, () =>
        this.refusal('tpm-timeout', `an answer within ${timeoutSeconds} s`, 'none'),
      );
      return wholeResponse(response);
    } finally {
      socket.destroy();
      this.current = undefined;
    }
  }

  /** Collects bytes until the response is as long as its header says. */
  private receive(socket: Socket): Promise<Uint8Array> {
    return new Promise((resolve, reject) => {
      let received: Buffer = Buffer.alloc(0);
      socket.on('data', (chunk: Buffer) => {
        received = Buffer.concat([received, chunk]);
        if (received.length < RESPONSE_HEADER_BYTES) return;
        try {
          if (received.length >= announcedBytes(received)) resolve(new Uint8Array(received));
        } catch (error) {
          reject(error instanceof RefusalError ? error : this.lost(received.length));
        }
      });
      socket.on('error', (error: NodeJS.ErrnoException) => {
        reject(this.failure(error, received.length));
      });
      socket.on('close', () => {
        reject(this.lost(received.length));
      });
    });
  }

  private failure(error: NodeJS.ErrnoException, received: number): RefusalError {
    if (error.syscall === 'connect' || error.syscall === 'getaddrinfo') {
      return this.refusal('tpm-unreachable', 'a simulator that listens', error.code ?? 'no connection');
    }
    return this.lost(received);
  }

  private lost(received: number): RefusalError {
    return this.refusal('tpm-connection-lost', 'a whole response', `${received} bytes, then the end`);
  }

  private refusal(
    code: keyof typeof tpmConnectionRefusals.codes,
    expected: string,
    found: string,
  ): RefusalError {
    return tpmConnectionRefusals.error(code, { field: this.address, expected, found });
  }
}
