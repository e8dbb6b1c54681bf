/**
 * Reaches a TPM through the system's TPM stack: libtss2-tctildr loads the module that the address names and hands
 * out a context whose first members are function pointers (TCG "TSS 2.0 TPM Command Transmission Interface", 3).
 * Calls run on threads of the event loop's pool, one at a time for each context.
 */

import { promisify } from 'node:util';
import koffi, { type TypeObject } from 'koffi';

import { RefusalError } from '../../attestation/core/refusal.ts';
import { shutDownConnections } from './connections.ts';
import { tpmConnectionRefusals, tpmMachineRefusals } from './refusals.ts';
import type { TctiAddress } from './tcti-address.ts';
import { MAX_RESPONSE_BYTES, TaskQueue, type TpmTransport, wholeResponse, within } from './transport.ts';

const LIBRARY = 'libtss2-tctildr.so.0';

/** TSS2_TCTI_CONTEXT_COMMON_V1; newer contexts only append. The magic number is the module's own and says nothing. */
const CONTEXT = koffi.struct({
  magic: 'uint64_t',
  version: 'uint32_t',
  transmit: 'void *',
  receive: 'void *',
  finalize: 'void *',
  cancel: 'void *',
  getPollHandles: 'void *',
  setLocality: 'void *',
});
const TRANSMIT = koffi.proto('uint32_t (void *context, size_t size, const uint8_t *command)');
const RECEIVE = koffi.proto(
  'uint32_t (void *context, _Inout_ size_t *size, _Out_ uint8_t *response, int32_t timeout)',
);

/** Debian's modules wait for ever whatever the caller asks, so the time limit is kept by this file instead. */
const WAIT_FOR_EVER = -1;

/** How long a call that was interrupted may take to come back before its context is given up. */
const INTERRUPT_SECONDS = 2;

/** Bits of a TSS2 response code that say what happened; those above them say in which layer. */
const CODE_MASK = 0xffff;

/** What the loader returns when no module for the address is installed. */
const NOT_SUPPORTED = 0x15;

/** Base response codes of TSS2 libraries (tss2_common.h). */
const TSS2_CODE_NAMES: Readonly<Record<number, string>> = {
  0x01: 'general failure',
  0x02: 'not implemented',
  0x03: 'bad context',
  0x04: 'ABI mismatch',
  0x05: 'bad reference',
  0x06: 'insufficient buffer',
  0x07: 'bad sequence',
  0x08: 'no connection',
  0x09: 'try again',
  0x0a: 'input/output error',
  0x0b: 'bad value',
  0x0c: 'not permitted',
  0x10: 'malformed response',
};

type Pointer = bigint;
interface Context {
  readonly pointer: Pointer;
  readonly transmit: (context: Pointer, size: number, command: Uint8Array) => Promise<number>;
  readonly receive: (
    context: Pointer,
    size: [number],
    response: Uint8Array,
    timeout: number,
  ) => Promise<number>;
}

interface Library {
  readonly initialize: (configuration: string, context: [Pointer | null]) => Promise<number>;
  /** Does nothing where there is no context. */
  readonly finalize: (context: [Pointer | null]) => void;
}

/** Loads the library. @throws RefusalError `tpm-library-missing` */
export function loadTctiLibrary(): Library {
  // The library writes its own diagnostics to standard error; ours carry the same facts. An operator's value stays.
  process.env['TSS2_LOG'] ??= 'all+NONE';
  try {
    const library = koffi.load(LIBRARY);
    const initialize = library.func('Tss2_TctiLdr_Initialize', 'uint32_t', ['str', koffi.out('void **')]);
    const finalize = library.func('Tss2_TctiLdr_Finalize', 'void', [koffi.inout('void **')]);
    return {
      initialize: asynchronous(initialize) as Library['initialize'],
      finalize: finalize as Library['finalize'],
    };
  } catch (cause) {
    throw missingLibrary(LIBRARY, 'no library that loads', { cause });
  }
}

function missingLibrary(field: string, found: string, options?: ErrorOptions): RefusalError {
  const facts = { field, expected: 'the TPM stack with a module for the address', found };
  return tpmMachineRefusals.error('tpm-library-missing', facts, options);
}

/** The promise form of a native function, which then runs on a thread of the pool. */
function asynchronous(native: { async: (...values: never[]) => unknown }): unknown {
  return promisify(native.async as (callback: (error: unknown, result: unknown) => void) => void);
}

export class TctiTransport implements TpmTransport {
  readonly address: string;
  private readonly tcti: TctiAddress;
  private readonly library: Library;
  private readonly context: Context;
  private readonly commandSeconds: number;
  private readonly queue = new TaskQueue();
  /** The native calls of the current command: the context must outlive them. */
  private pending: Promise<unknown> = Promise.resolve();
  /** Why no further command can be sent. After a timeout a late response would answer the wrong command. */
  private ended: RefusalError | undefined;

  private constructor(tcti: TctiAddress, library: Library, context: Context, commandSeconds: number) {
    this.address = tcti.text;
    this.tcti = tcti;
    this.library = library;
    this.context = context;
    this.commandSeconds = commandSeconds;
  }

  /**
   * @param openSeconds how long opening may take
   * @param commandSeconds how long a command may take, unless it says otherwise
   * @throws RefusalError `tpm-library-missing`, `tpm-unreachable`, `tpm-timeout`
   */
  static async open(tcti: TctiAddress, openSeconds: number, commandSeconds: number): Promise<TctiTransport> {
    const library = loadTctiLibrary();
    const slot: [Pointer | null] = [null];
    const opening = library.initialize(tcti.text, slot);
    const code = await within(opening, openSeconds, () => {
      shutDownConnections(tcti);
      void opening.then(() => {
        library.finalize(slot);
      });
      return refusal('tpm-timeout', tcti.text, `a connection within ${openSeconds} s`, 'none');
    });
    const pointer = slot[0];
    if ((code & CODE_MASK) === NOT_SUPPORTED) throw missingLibrary(tcti.text, 'no module for this address');
    if (code !== 0 || pointer === null) {
      throw refusal('tpm-unreachable', tcti.text, 'a TPM that opens', describeTss2Code(code));
    }
    return new TctiTransport(tcti, library, readContext(pointer), commandSeconds);
  }

  transmit(command: Uint8Array, timeoutSeconds = this.commandSeconds): Promise<Uint8Array> {
    return this.queue.run(() => this.exchange(command, timeoutSeconds));
  }

  async close(): Promise<void> {
    if (this.ended?.refusal.code === 'tpm-closed') return;
    this.ended = refusal('tpm-closed', this.address, 'an open connection', 'a closed one');
    const idle = await this.interrupt();
    // A context that a thread still uses is left to the end of the process: freeing it would be use after free.
    if (idle) this.library.finalize([this.context.pointer]);
  }

  private async exchange(command: Uint8Array, timeoutSeconds: number): Promise<Uint8Array> {
    if (this.ended !== undefined) throw this.ended;
    const calls = this.call(command);
    this.pending = calls.catch(() => undefined);
    try {
      return await within(calls, timeoutSeconds, () =>
        refusal('tpm-timeout', this.address, `an answer within ${timeoutSeconds} s`, 'none'),
      );
    } catch (error) {
      if (error instanceof RefusalError) {
        this.ended ??= error;
        await this.interrupt();
      }
      throw error;
    }
  }

  private async call(command: Uint8Array): Promise<Uint8Array> {
    const { pointer, transmit, receive } = this.context;
    const sent = await transmit(pointer, command.length, command);
    if (sent !== 0) throw this.lost(sent);
    const response = new Uint8Array(MAX_RESPONSE_BYTES);
    const size: [number] = [response.length];
    const received = await receive(pointer, size, response, WAIT_FOR_EVER);
    if (received !== 0) throw this.lost(received);
    return wholeResponse(response.subarray(0, size[0]));
  }

  /** Ends native calls that still wait. Says whether the context is idle afterwards. */
  private async interrupt(): Promise<boolean> {
    const idle = this.pending.then(() => true);
    const alreadyIdle = await Promise.race([idle, new Promise((next) => setImmediate(next, false))]);
    if (alreadyIdle === true) return true;
    shutDownConnections(this.tcti);
    const late = (): RefusalError => refusal('tpm-timeout', this.address, 'an end of the call', 'none');
    return within(idle, INTERRUPT_SECONDS, late).catch(() => false);
  }

  private lost(code: number): RefusalError {
    return refusal('tpm-connection-lost', this.address, 'a whole response', describeTss2Code(code));
  }
}

function readContext(pointer: Pointer): Context {
  const members = koffi.decode(pointer, CONTEXT) as Readonly<Record<'transmit' | 'receive', Pointer>>;
  const native = (address: Pointer, prototype: TypeObject): unknown =>
    asynchronous(koffi.decode(address, prototype) as { async: () => unknown });
  return {
    pointer,
    transmit: native(members.transmit, TRANSMIT) as Context['transmit'],
    receive: native(members.receive, RECEIVE) as Context['receive'],
  };
}

/** The text of a TSS2 response code: its name where known, and the number for a search. */
function describeTss2Code(code: number): string {
  return `${TSS2_CODE_NAMES[code & CODE_MASK] ?? 'an error'} (TSS2 code 0x${code.toString(16)})`;
}

function refusal(
  code: keyof typeof tpmConnectionRefusals.codes,
  field: string,
  expected: string,
  found: string,
): RefusalError {
  return tpmConnectionRefusals.error(code, { field, expected, found });
}
