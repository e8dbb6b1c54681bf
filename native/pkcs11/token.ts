/**
 * A token that is logged in to, with a few sessions that are lent out one operation at a time. When the token ends them,
 * because it was taken out or reset, the next operation looks for it again and logs in anew.
 */

import { isRefusal } from '../../attestation/core/refusal.ts';
import { TaskQueue } from '../tpm/transport.ts';
import type { Cryptoki } from './library.ts';
import { pkcs11MachineRefusals, pkcs11StateRefusals } from './refusals.ts';
import { ReturnValue } from './return-values.ts';
import { Pkcs11Session } from './session.ts';
import {
  readCount,
  readTokenInformation,
  readUlong,
  TokenFlag,
  type TokenInformation,
  tokenInformationRoom,
  ULONG_BYTES,
  ulongRoom,
} from './structures.ts';
import { Turns } from './turns.ts';
import { offHeapBytes } from '../memory/mapping.ts';

const MAX_SLOTS = 256;
/** CKF_SERIAL_SESSION and CKF_RW_SESSION. */
const READ_WRITE_SESSION = 6n;
/** CKU_USER. */
const USER = 1n;
const TOKEN_PRESENT = 1;

/** Which token. */
export interface TokenChoice {
  readonly label: string;
  /** Null takes the only token of the label. */
  readonly serial: string | null;
}

export interface TokenOptions extends TokenChoice {
  /** The PIN of the user, in UTF-8; copied, and kept for logging in again. */
  readonly pin: Uint8Array;
  /** How many operations may run at once. */
  readonly sessions: number;
}

export class Pkcs11Token {
  private readonly library: Cryptoki;
  private readonly options: TokenOptions;
  private readonly pin: Uint8Array;
  private readonly connecting = new TaskQueue();
  private readonly turns: Turns;
  private idle: Pkcs11Session[] = [];
  private slot: bigint | undefined;
  /** A refused PIN is never given again: a few more would lock the token. */
  private refusedPin: Error | undefined;
  private isClosed = false;

  /** @param library closed with the token */
  constructor(library: Cryptoki, options: TokenOptions) {
    this.library = library;
    this.options = options;
    this.turns = new Turns(options.sessions);
    this.pin = offHeapBytes(options.pin.length);
    this.pin.set(options.pin);
  }

  /**
   * Does some work in a session, a second time in a new one when the token was gone.
   *
   * @param work must come to the same when it is done twice
   * @throws RefusalError `pkcs11-*`, and those of `work`
   */
  async use<T>(work: (session: Pkcs11Session) => Promise<T>): Promise<T> {
    return await this.during(1, work);
  }

  /**
   * As {@link use}, while nothing else goes on with the token. Objects are made and destroyed so: a library may fail
   * where others look for objects at the same moment, as SoftHSM's store does.
   */
  async useAlone<T>(work: (session: Pkcs11Session) => Promise<T>): Promise<T> {
    return await this.during(this.options.sessions, work);
  }

  private async during<T>(share: number, work: (session: Pkcs11Session) => Promise<T>): Promise<T> {
    await this.turns.enter(share);
    try {
      this.requireOpen();
      return await this.attempt(work);
    } catch (error) {
      if (!isGone(error)) throw error;
      await this.connecting.run(() => this.forget());
      return await this.attempt(work);
    } finally {
      this.turns.leave(share);
    }
  }

  private async attempt<T>(work: (session: Pkcs11Session) => Promise<T>): Promise<T> {
    const session = this.idle.pop() ?? (await this.connecting.run(() => this.connect()));
    const slot = this.slot;
    try {
      const result = await work(session);
      if (this.slot === slot) this.idle.push(session);
      return result;
    } catch (error) {
      // An operation may still be open in the session: it is not lent again.
      if (!isGone(error)) await session.close().catch(() => undefined);
      throw error;
    }
  }

  private requireOpen(): void {
    if (!this.isClosed) return;
    throw pkcs11StateRefusals.error('pkcs11-closed', {
      field: this.library.place,
      expected: 'an open token',
      found: 'a closed one',
    });
  }

  /** The sessions of a token that was gone are of no use, and closing them may fail. */
  private async forget(): Promise<void> {
    const gone = this.idle;
    this.idle = [];
    this.slot = undefined;
    for (const session of gone) await session.close().catch(() => undefined);
  }

  private async connect(): Promise<Pkcs11Session> {
    if (this.refusedPin !== undefined) throw this.refusedPin;
    this.slot ??= await this.findSlot();
    const handle = ulongRoom();
    await this.library.call('C_OpenSession', [this.slot, READ_WRITE_SESSION, null, null, handle]);
    const session = new Pkcs11Session(this.library, readUlong(handle, 'C_OpenSession'));
    try {
      await this.login(session, this.slot);
    } catch (error) {
      await session.close().catch(() => undefined);
      throw error;
    }
    return session;
  }

  private async login(session: Pkcs11Session, slot: bigint): Promise<void> {
    const { flags } = await this.tokenInformation(slot);
    if ((flags & TokenFlag.userPinLocked) !== 0n) throw this.pinRefusal('pkcs11-pin-locked', 'a locked PIN');
    if ((flags & TokenFlag.userPinFinalTry) !== 0n) {
      throw this.pinRefusal('pkcs11-pin-last-try', 'one try left');
    }
    const values = [session.handle, USER, this.pin, BigInt(this.pin.length)];
    try {
      // All sessions of a process with a token are logged in together.
      await this.library.call('C_Login', values, [ReturnValue.userAlreadyLoggedIn]);
    } catch (error) {
      if (isRefusal(error) && error.refusal.code === 'pkcs11-pin-wrong') this.refusedPin = error;
      throw error;
    }
  }

  private pinRefusal(code: 'pkcs11-pin-locked' | 'pkcs11-pin-last-try', found: string): Error {
    const facts = { field: this.options.label, expected: 'a token with tries left', found };
    return pkcs11MachineRefusals.error(code, facts);
  }

  private async findSlot(): Promise<bigint> {
    const { label, serial } = this.options;
    const found: { slot: bigint; serial: string }[] = [];
    for (const slot of await this.slotsWithToken()) {
      const token = await this.tokenInformation(slot);
      const isInitialized = (token.flags & TokenFlag.tokenInitialized) !== 0n;
      if (!isInitialized || token.label !== label) continue;
      if (serial === null || token.serial === serial) found.push({ slot, serial: token.serial });
    }
    const [only, ...others] = found;
    if (only !== undefined && others.length === 0) return only.slot;
    throw pkcs11MachineRefusals.error(
      only === undefined ? 'pkcs11-token-missing' : 'pkcs11-token-ambiguous',
      {
        field: this.library.place,
        expected: `one token ${label}${serial === null ? '' : ` with the serial number ${serial}`}`,
        found: only === undefined ? 'none' : found.map((token) => token.serial).join(', '),
      },
    );
  }

  private async slotsWithToken(): Promise<readonly bigint[]> {
    // A library looks for slots that came or went only when it is asked for their number alone (section 5.5).
    await this.library.call('C_GetSlotList', [TOKEN_PRESENT, null, ulongRoom()]);
    const list = offHeapBytes(MAX_SLOTS * ULONG_BYTES);
    const count = ulongRoom(BigInt(MAX_SLOTS));
    await this.library.call('C_GetSlotList', [TOKEN_PRESENT, list, count]);
    return Array.from({ length: readCount(count, 'C_GetSlotList', MAX_SLOTS) }, (_, i) =>
      readUlong(list.subarray(i * ULONG_BYTES, (i + 1) * ULONG_BYTES), 'C_GetSlotList'),
    );
  }

  private async tokenInformation(slot: bigint): Promise<TokenInformation> {
    const room = tokenInformationRoom();
    await this.library.call('C_GetTokenInfo', [slot, room]);
    return readTokenInformation(room, 'C_GetTokenInfo');
  }

  /** Ends all sessions and forgets the PIN. Work that goes on is let finish. */
  async close(): Promise<void> {
    if (this.isClosed) return;
    this.isClosed = true;
    await this.turns.enter(this.options.sessions);
    await this.connecting.run(() => this.forget());
    this.pin.fill(0);
    await this.library.close();
    // Who came after finds the token closed.
    this.turns.leave(this.options.sessions);
  }
}

function isGone(error: unknown): boolean {
  return isRefusal(error) && error.refusal.code === 'pkcs11-token-gone';
}
