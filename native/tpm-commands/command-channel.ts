/**
 * Sends commands and reads their responses: again where the TPM asks for it, under a salted session where there is
 * one, and with a word of its own for each way in which a TPM says no.
 */

import { setTimeout as pause } from 'node:timers/promises';

import type { RefusalError } from '../../attestation/core/refusal.ts';
import type { TpmTransport } from '../tpm/transport.ts';
import { readClock } from './commands.ts';
import {
  type Command,
  decodeResponse,
  encodeCommand,
  type Invocation,
  readResponseCode,
  type Reply,
} from './frames.ts';
import { protectCommand } from './protected-command.ts';
import { tpmAnswerRefusals, tpmSessionRefusals, tpmStateRefusals } from './refusals.ts';
import {
  describeResponseCode,
  isAuthorizationFailure,
  LOCKOUT,
  meansNotLoaded,
  NV_RATE,
  RETRY_CODES,
  SLOTS_FULL_CODES,
} from './response-code.ts';
import type { SaltedSession } from './salted-session.ts';

/** Back-off of a command that the TPM asks to send again: 20 ms, doubled each time, 10 s in all. */
const FIRST_RETRY_MILLISECONDS = 20;
const MAX_RETRIES = 9;

/** One command on its way. */
interface Outgoing<R> {
  readonly name: string;
  readonly bytes: Uint8Array;
  /** Which of its sessions has a key, counted from 1; undefined when none has. */
  readonly sessionNumber: number | undefined;
  readonly readResponse: (response: Uint8Array) => Reply<R>;
}

/** The two counts that tell one power cycle or suspension of a TPM from the next. */
interface BootCounts {
  readonly resetCount: number;
  readonly restartCount: number;
}

export class CommandChannel {
  private readonly transport: TpmTransport;
  /** Of the time when the first thing was loaded: from then on a reset takes something away. */
  private boot: BootCounts | undefined;

  constructor(transport: TpmTransport) {
    this.transport = transport;
  }

  close(): Promise<void> {
    return this.transport.close();
  }

  /**
   * @param session protects the command, if it takes sessions at all
   * @throws RefusalError `tpm-response`, `tpm-slots-full`, `tpm-locked-out`, `tpm-nv-rate`, `tpm-retries-over`,
   *   `tpm-was-reset`, `tpm-session-command`, `tpm-session-response`, `tpm-answer-malformed`, `layout-*`, or of the
   *   transport
   */
  async run<P, R>(
    command: Command<P, R>,
    invocation: Invocation<P>,
    session?: SaltedSession,
  ): Promise<Reply<R>> {
    if (command.returnsHandle) this.boot ??= await this.readBootCounts();
    const { name } = command;
    if (session !== undefined && command.takesSessions) {
      return session.queue.run(() =>
        this.exchange({ name, ...protectCommand(command, invocation, session) }),
      );
    }
    return this.exchange({
      name,
      bytes: encodeCommand(command, invocation),
      sessionNumber: undefined,
      readResponse: (response) => decodeResponse(command, response),
    });
  }

  private async exchange<R>(outgoing: Outgoing<R>): Promise<Reply<R>> {
    let wait = FIRST_RETRY_MILLISECONDS;
    for (let retries = 0; ; retries += 1) {
      const response = await this.transport.transmit(outgoing.bytes);
      const code = readResponseCode(response, outgoing.name);
      if (code === 0) return outgoing.readResponse(response);
      if (!RETRY_CODES.has(code) || retries === MAX_RETRIES) throw await this.refusalOf(outgoing, code);
      await pause(wait);
      wait *= 2;
    }
  }

  private async refusalOf<R>(outgoing: Outgoing<R>, code: number): Promise<RefusalError> {
    const { name, sessionNumber } = outgoing;
    if (await this.wasReset(code)) {
      return tpmStateRefusals.error('tpm-was-reset', {
        field: name,
        expected: 'the TPM as it was when its keys and sessions were loaded',
        found: `a reset or a suspension since then: ${describeResponseCode(code)}`,
      });
    }
    if (sessionNumber !== undefined && isAuthorizationFailure(code, sessionNumber)) {
      return tpmSessionRefusals.error('tpm-session-command', {
        field: name,
        expected: 'a command that arrives as it was sent',
        found: describeResponseCode(code),
      });
    }
    return refuseResponse(name, code);
  }

  /** Whether what is not loaded any more was taken away by a reset, and not by this program. */
  private async wasReset(code: number): Promise<boolean> {
    const { boot } = this;
    if (boot === undefined || !meansNotLoaded(code)) return false;
    const now = await this.readBootCounts().catch(() => undefined);
    // A TPM that does not tell its counts was reset and has not been started since.
    return now?.resetCount !== boot.resetCount || now.restartCount !== boot.restartCount;
  }

  private async readBootCounts(): Promise<BootCounts> {
    const { parameters } = await this.run(readClock, { handles: [], parameters: {} });
    return parameters.clockInfo;
  }
}

function refuseResponse(field: string, code: number): RefusalError {
  const facts = { field, expected: 'TPM_RC_SUCCESS', found: describeResponseCode(code) };
  if (SLOTS_FULL_CODES.has(code)) return tpmAnswerRefusals.error('tpm-slots-full', facts);
  if (code === LOCKOUT) return tpmAnswerRefusals.error('tpm-locked-out', facts);
  if (code === NV_RATE) return tpmStateRefusals.error('tpm-nv-rate', facts);
  if (RETRY_CODES.has(code)) return tpmStateRefusals.error('tpm-retries-over', facts);
  return tpmAnswerRefusals.error('tpm-response', facts);
}
