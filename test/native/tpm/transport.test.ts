import { once } from 'node:events';
import { createServer, type AddressInfo, type Server } from 'node:net';
import fc from 'fast-check';
import { afterEach, describe, expect, it } from 'vitest';

import { openTpm } from '../../../native/tpm/open.ts';
import { TaskQueue, wholeResponse } from '../../../native/tpm/transport.ts';
import { loadTctiLibrary } from '../../../native/tpm/tctildr.ts';
import { refusalCode, refusalCodeAsync } from '../../support/refusal-code.ts';

const SUCCESS = Uint8Array.of(0x80, 0x01, 0, 0, 0, 10, 0, 0, 0, 0);
const COMMAND = Uint8Array.of(0x80, 0x01, 0, 0, 0, 12, 0, 0, 0x01, 0x7b, 0, 8);

const stackMissing = refusalCode(() => loadTctiLibrary()) !== 'accepted';
if (stackMissing) process.stderr.write('skipped in part: libtss2-tctildr is not installed\n');
const ways = [
  { through: 'socket', skip: false },
  { through: 'stack', skip: stackMissing },
] as const;

const servers: Server[] = [];
afterEach(() => {
  for (const server of servers.splice(0)) server.close();
});

/**
 * A simulator that does with each command what the test says; `undefined` leaves it without an answer. On the control
 * channel the stack sets the locality, which succeeds.
 */
async function listen(answer: (command: number) => Uint8Array | undefined): Promise<string> {
  for (;;) {
    let commands = 0;
    const data = createServer((socket) => {
      socket.on('error', () => undefined);
      socket.once('data', () => {
        commands += 1;
        const response = answer(commands);
        if (response !== undefined) socket.end(response);
      });
    });
    const control = createServer((socket) => {
      socket.on('error', () => undefined);
      socket.once('data', () => socket.end(new Uint8Array(4)));
    });
    servers.push(data, control);
    data.listen(0, '127.0.0.1');
    await once(data, 'listening');
    const { port } = data.address() as AddressInfo;
    control.listen(port + 1, '127.0.0.1');
    const listens = await once(control, 'listening').then(
      () => true,
      () => false,
    );
    if (listens) return `swtpm:host=127.0.0.1,port=${port}`;
  }
}

/** Answers the probe of the opening; later commands get the given bytes. */
function afterOpening(response: Uint8Array | undefined): (command: number) => Uint8Array | undefined {
  return (command) => (command === 1 ? SUCCESS : response);
}

describe('response framing', () => {
  it.each([
    ['nothing', new Uint8Array(0)],
    ['a part of a header', SUCCESS.subarray(0, 9)],
    ['a byte too many', Uint8Array.of(...SUCCESS, 0)],
    ['a byte too few', Uint8Array.of(0x80, 0x01, 0, 0, 0, 11, 0, 0, 0, 0)],
    ['a size below the header', Uint8Array.of(0x80, 0x01, 0, 0, 0, 9, 0, 0, 0, 0)],
  ])('TA-4: refuses %s', (_, response) => {
    expect(refusalCode(() => wholeResponse(response))).toBe('tpm-response-malformed');
  });

  it('TA-4: refuses more than 4096 bytes, also when the header says so', () => {
    const response = new Uint8Array(4097);
    new DataView(response.buffer).setUint32(2, 4097);
    expect(refusalCode(() => wholeResponse(response))).toBe('tpm-response-malformed');
  });
});

describe('the queue of a connection', () => {
  it('TA-3: runs tasks one at a time and in order, also behind a failed one', async () => {
    const queue = new TaskQueue();
    const seen: string[] = [];
    let running = 0;
    const task = (name: string, fails: boolean) => async (): Promise<void> => {
      running += 1;
      expect(running).toBe(1);
      await new Promise((next) => setTimeout(next, 5));
      running -= 1;
      seen.push(name);
      if (fails) throw new Error(name);
    };
    const results = await Promise.allSettled([
      queue.run(task('first', false)),
      queue.run(task('second', true)),
      queue.run(task('third', false)),
    ]);
    expect(seen).toEqual(['first', 'second', 'third']);
    expect(results.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled']);
  });
});

describe.each(ways)('a TPM through the $through', ({ through, skip }) => {
  const test = skip ? it.skip : it;

  test('TA-6: says that nothing listens', async () => {
    const address = await listen(() => undefined);
    for (const server of servers.splice(0)) await new Promise((next) => server.close(next));
    expect(await refusalCodeAsync(() => openTpm(address, { through }))).toBe('tpm-unreachable');
  });

  test('TA-6: says that the TPM is busy when it accepts the connection and stays silent', async () => {
    const address = await listen(() => undefined);
    const opening = (): Promise<unknown> => openTpm(address, { through, openTimeoutSeconds: 0.3 });
    expect(await refusalCodeAsync(opening)).toBe('tpm-busy');
  });

  test('TA-5: refuses every further command after one that took too long', async () => {
    const address = await listen(afterOpening(undefined));
    const tpm = await openTpm(address, { through, commandTimeoutSeconds: 0.3 });
    expect(await refusalCodeAsync(() => tpm.transmit(COMMAND))).toBe('tpm-timeout');
    expect(await refusalCodeAsync(() => tpm.transmit(COMMAND))).toBe('tpm-timeout');
    await tpm.close();
    expect(await refusalCodeAsync(() => tpm.transmit(COMMAND))).toBe('tpm-closed');
  });

  test('TA-6: says that the connection ended inside a response', async () => {
    const address = await listen(afterOpening(SUCCESS.subarray(0, 5)));
    const tpm = await openTpm(address, { through });
    expect(await refusalCodeAsync(() => tpm.transmit(COMMAND))).toBe('tpm-connection-lost');
    await tpm.close();
  });

  test('closes in the middle of a command', async () => {
    const address = await listen(afterOpening(undefined));
    const tpm = await openTpm(address, { through });
    const command = refusalCodeAsync(() => tpm.transmit(COMMAND));
    await new Promise((next) => setTimeout(next, 100));
    await tpm.close();
    expect(await command).toMatch(/^tpm-(connection-lost|closed)$/);
  });

  test('TA-7: only refuses, whatever comes back', async () => {
    let response: Uint8Array = SUCCESS;
    const address = await listen(() => response);
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 64 }), async (bytes) => {
        response = SUCCESS;
        const tpm = await openTpm(address, { through, commandTimeoutSeconds: 5 });
        response = bytes;
        expect(await refusalCodeAsync(() => tpm.transmit(COMMAND))).toMatch(/^(accepted|tpm-.*)$/);
        await tpm.close();
      }),
      { numRuns: 60 },
    );
  });
});

describe('a device', () => {
  it.skipIf(stackMissing)('TA-6: says that there is none', async () => {
    expect(await refusalCodeAsync(() => openTpm('device:/dev/tpm-none'))).toBe('tpm-missing');
  });

  it('TA-2: is not reached over a socket', async () => {
    const opening = (): Promise<unknown> => openTpm('device:/dev/tpmrm0', { through: 'socket' });
    expect(await refusalCodeAsync(opening)).toBe('tpm-library-missing');
  });
});
