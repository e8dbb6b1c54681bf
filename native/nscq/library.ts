/**
 * A session of libnvidia-nscq. The library answers a path by calling back, once for each device that the path names,
 * with what it found there.
 */

import { excerpt } from '../../attestation/core/bytes.ts';
import type { RefusalError } from '../../attestation/core/refusal.ts';
import { MAX_DEVICES } from '../nvml/gpu.ts';
import { SerialCalls } from '../nvml/serial-calls.ts';
import { loadFunctions, type Answers, type Functions, type Kind } from './declarations.ts';
import { nscqContentRefusals, nscqMachineRefusals, nscqStateRefusals } from './refusals.ts';

/** The name under which its package installs it, for the system's loader. */
export const NSCQ_LIBRARY = 'libnvidia-nscq.so.2';

/** `nscq_rc_t` of nscq_attestation.h: 0 is success; what is above is a warning, which counts as a failure here. */
const RETURN_CODES: Readonly<Record<number, string>> = {
  1: 'WARNING_RDT_INIT_FAILURE',
  [-1]: 'NOT_IMPLEMENTED',
  [-2]: 'INVALID_UUID',
  [-3]: 'RESOURCE_NOT_MOUNTABLE',
  [-4]: 'OVERFLOW',
  [-5]: 'UNEXPECTED_VALUE',
  [-6]: 'UNSUPPORTED_DRV',
  [-7]: 'DRV',
  [-8]: 'TIMEOUT',
  [-127]: 'EXT',
  [-128]: 'UNSPECIFIED',
};

const UUID_BYTES = 16;
const LABEL_BYTES = 64;
const LABEL = /^[0-9A-Za-z-]{1,63}$/;
const MOUNT_DEVICES = 1;
const NO_FLAGS = 0;

export class NscqLibrary {
  readonly address: string;
  private readonly functions: Functions;
  private readonly calls: SerialCalls;
  private session: bigint | null = null;

  private constructor(address: string, functions: Functions, callSeconds: number) {
    this.address = address;
    this.functions = functions;
    this.calls = new SerialCalls(callSeconds, (field) => late(field, callSeconds));
  }

  /**
   * Opens a session with all switches.
   *
   * @param path what the system's loader takes: a name or an absolute path
   * @param callSeconds how long one call may take
   * @throws RefusalError `nscq-*`
   */
  static async open(path: string, callSeconds: number): Promise<NscqLibrary> {
    const library = new NscqLibrary(`nscq:${path}`, loadFunctions(path), callSeconds);
    const field = `${library.address} session`;
    const { returned, session } = await library.calls.run(field, () =>
      library.functions.create(MOUNT_DEVICES),
    );
    library.session = session;
    try {
      requireSuccess(returned, field);
    } catch (error) {
      await library.close();
      throw error;
    }
    return library;
  }

  /** Labels of all switches, in the library's order. @throws RefusalError `nscq-*` */
  async labels(): Promise<readonly string[]> {
    const labels: string[] = [];
    await this.ask('uuid', '/drv/nvswitch/{device}/uuid', undefined, (uuid) => {
      labels.push(this.labelOf(uuid));
    });
    return labels;
  }

  /**
   * What one switch answers to one path.
   *
   * @param input what the path needs: the nonce of a report
   * @throws RefusalError `nscq-*`
   */
  async one<K extends Kind>(kind: K, path: string, input?: Uint8Array): Promise<Answers[K]> {
    const answers: Answers[K][] = [];
    await this.ask(kind, path, input, (answer) => answers.push(answer));
    const [answer] = answers;
    if (answer !== undefined && answers.length === 1) return answer;
    throw this.malformed(path, 'one answer', String(answers.length));
  }

  /** Ends the session, unless a call hangs in it: then the end would hang too. */
  async close(): Promise<void> {
    const { session } = this;
    this.session = null;
    if (session === null || this.calls.hangs) return;
    await this.calls.run(`${this.address} end`, () => this.functions.destroy(session));
  }

  /** @param take gets each answer while the call runs, and must copy what it keeps of memory behind pointers */
  private async ask<K extends Kind>(
    kind: K,
    path: string,
    input: Uint8Array | undefined,
    take: (answer: Answers[K]) => void,
  ): Promise<void> {
    const field = `${this.address} ${path}`;
    const { session } = this;
    if (session === null) {
      throw nscqStateRefusals.error('nscq-closed', { field, expected: 'an open session', found: 'none' });
    }
    const returns: number[] = [];
    const problems: unknown[] = [];
    const onAnswer = (_device: bigint, returned: number, answer: Answers[K]): void => {
      if (returns.push(returned) > MAX_DEVICES || returned !== 0) return;
      // An error must not leave a callback: it would pass through the frames of the library.
      try {
        take(answer);
      } catch (error) {
        problems.push(error);
      }
    };
    // Input belongs to the session, so nothing may come between it and the question.
    const observed = await this.calls.run(field, async () => {
      if (input !== undefined) {
        requireSuccess(await this.functions.setInput(session, NO_FLAGS, input, input.length), field);
      }
      return await this.functions.observe[kind](session, path, onAnswer, null, NO_FLAGS);
    });
    for (const returned of [observed, ...returns]) requireSuccess(returned, field);
    if (returns.length > MAX_DEVICES) {
      throw this.malformed(path, `at most ${MAX_DEVICES} answers`, String(returns.length));
    }
    if (problems.length > 0) throw problems[0];
  }

  /** The text of a switch's UUID, which stands in its paths. */
  private labelOf(uuid: bigint | null): string {
    if (uuid === null) throw this.malformed('uuid', `${UUID_BYTES} bytes`, 'none');
    const buffer = new Uint8Array(LABEL_BYTES);
    requireSuccess(this.functions.toLabel(uuid, buffer, NO_FLAGS), `${this.address} label`);
    const end = buffer.indexOf(0);
    const label = Buffer.from(end < 0 ? buffer : buffer.subarray(0, end)).toString('latin1');
    if (end >= 0 && LABEL.test(label)) return label;
    throw this.malformed('label', 'letters, digits and hyphens', excerpt(label));
  }

  private malformed(what: string, expected: string, found: string): RefusalError {
    return nscqContentRefusals.error('nscq-answer', { field: `${this.address} ${what}`, expected, found });
  }
}

/** @throws RefusalError `nscq-call-failed` */
function requireSuccess(returned: number, field: string): void {
  if (returned === 0) return;
  const name = RETURN_CODES[returned] ?? 'an unknown error';
  throw nscqMachineRefusals.error('nscq-call-failed', {
    field,
    expected: 'success',
    found: `${name} (${returned})`,
  });
}

function late(field: string, seconds: number): RefusalError {
  const facts = { field, expected: `an answer within ${seconds} s`, found: 'none' };
  return nscqMachineRefusals.error('nscq-timeout', facts);
}
