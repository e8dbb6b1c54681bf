/**
 * The state of governance as the server lives it: the fold over the log at start-up, then entry by entry as they are
 * appended, by the same function, so that whoever replays the log arrives where the server was.
 *
 * Entries are applied in the order in which they are handed to the log, before they are durable; nobody is answered
 * before they are. When an append fails, what follows on it was never promised to anybody: nothing is decided any
 * more until the server is started again (RP-22).
 *
 * A log that several servers write to is another matter: there an entry is made when the log has settled its place, on the state
 * after all entries before it, whoever wrote them (TL-41).
 */

import { isRefusal } from '../../attestation/core/refusal.ts';
import { decodeEntry, encodeEntry, type LogEntry } from '../governance/entries.ts';
import { applyEntry, initialState } from '../governance/fold.ts';
import type { Effect, GovernanceState } from '../governance/state.ts';
import type { EntryMaker } from '../log/batch-writer.ts';
import { checkEntrySize } from '../log/tiles.ts';
import type { EntryFollower } from '../log/writer-tree.ts';
import type { Clock } from '../platform/clock.ts';
import { capacityRefusals, homeRefusals } from './refusals.ts';

/** The part of the release log that is needed here. */
export interface EntryLog {
  /** Resolves when the entry is durable under a signed checkpoint. Entries keep the order of the calls. */
  append(entry: Uint8Array): Promise<LoggedEntry>;
  /** There where other servers write to the same log. */
  readonly shared?: SharedEntryLog | undefined;
}

/** A log in which entries of other servers stand between our own. */
export interface SharedEntryLog {
  /** Whether nothing is logged any more. */
  readonly isStopped: boolean;
  appendMade(make: EntryMaker): Promise<LoggedEntry>;
  attach(follower: EntryFollower, from: bigint): Promise<void>;
  refresh(): Promise<void>;
}

export interface LoggedEntry {
  readonly index: bigint;
  /** RFC 6962, 32 bytes. */
  readonly leafHash: Uint8Array;
  /** `c2sp.org/tlog-proof@v1` */
  readonly proof: string;
}

/** An entry that stands in the log. */
export interface RecordedEntry extends LoggedEntry {
  /** Its exact bytes. */
  readonly entry: Uint8Array;
  readonly effects: readonly Effect[];
}

/** More than time servers correct while a machine runs. */
const CLOCK_TOLERANCE_SECONDS = 300;
/** Fewer than the log itself lets wait, so that the log never turns one away after it was applied here. */
const MAX_WAITING = 256;

export class GovernanceLog {
  private readonly log: EntryLog;
  private readonly clock: Clock;
  /** The wall clock less the monotonic one when this server started; it changes when the wall clock is set. */
  private readonly clockOffset: number;
  private current: GovernanceState;
  /** Of a shared log: the state after what is known to stand in it. */
  private settled: GovernanceState;
  private waiting = 0;
  private stopped = false;

  private constructor(log: EntryLog, clock: Clock, state: GovernanceState) {
    this.log = log;
    this.clock = clock;
    this.clockOffset = offsetOf(clock);
    this.current = state;
    this.settled = state;
  }

  /**
   * Replays the log from its genesis entry.
   *
   * @param entries all entries of the log, in order; one at a time, so that the log may be of any length. What ties
   *   them to a signed root throws at their end (`PublishedLog.replay`); no state leaves here before
   * @throws RefusalError `home-mode` when the log is empty, those of `decodeEntry` and `applyEntry`, and what
   *   `entries` throws
   */
  static async open(log: EntryLog, entries: AsyncIterable<Uint8Array>, clock: Clock): Promise<GovernanceLog> {
    let state: GovernanceState | undefined;
    for await (const bytes of entries) {
      const entry = decodeEntry(bytes);
      state = state === undefined ? begin(entry) : applyEntry(state, entry, state.size).state;
    }
    if (state === undefined) refuseGenesis('an empty log');
    const governance = new GovernanceLog(log, clock, state);
    await log.shared?.attach(governance.follower(), BigInt(state.size));
    return governance;
  }

  /** The state after every entry that was handed to the log. */
  get state(): GovernanceState {
    return this.current;
  }

  /** Whether other servers decide by the same log. */
  get isShared(): boolean {
    return this.log.shared !== undefined;
  }

  /** Whether an append failed; nothing is decided any more then. */
  get isStopped(): boolean {
    return this.stopped;
  }

  /**
   * POSIX seconds that never run backwards within the log. A clock that was set by more than a little gives no time at all:
   * whoever sets it could let leases and accreditations last (LC-17).
   *
   * @throws RefusalError `server-clock`
   */
  now(): number {
    const now = this.clock.posixSeconds();
    const jump = Math.abs(offsetOf(this.clock) - this.clockOffset);
    const behind = this.current.at - now;
    if (Math.max(jump, behind) > CLOCK_TOLERANCE_SECONDS) throw clockRefusal(jump, behind);
    return Math.max(now, this.current.at);
  }

  /**
   * Makes the next entry from the current state, checks it against the rules and logs it. Nothing else happens to the
   * state while `make` runs, so what it decides is what is true at that place in the log.
   *
   * @param make receives the state and the time of the entry; may throw to log nothing. On a shared log it may be called again,
   *   for a later place, when what it made before did not come to stand
   * @throws RefusalError `server-stopped`, `server-busy`, those of `applyEntry`, and what `make` throws
   */
  async record(make: (state: GovernanceState, at: number) => LogEntry): Promise<RecordedEntry> {
    this.refuseWhenUnable();
    const { shared } = this.log;
    if (shared !== undefined) return await this.recordShared(shared, make);
    const { current } = this;
    const made = make(current, this.now());
    const { state, effects } = applyEntry(current, made, current.size);
    const entry = encodeEntry(made);
    this.current = state;
    return { ...(await this.append(entry, current.size)), entry, effects };
  }

  /**
   * Learns what other servers wrote to the log until now. Decisions do so by themselves; this is for what is answered without one.
   *
   * @throws RefusalError `server-stopped`, `server-busy`
   */
  async refresh(): Promise<void> {
    const { shared } = this.log;
    if (shared === undefined) return;
    try {
      await shared.refresh();
    } catch (cause) {
      throw this.failureOf(shared, cause);
    }
  }

  private async recordShared(
    shared: SharedEntryLog,
    make: (state: GovernanceState, at: number) => LogEntry,
  ): Promise<RecordedEntry> {
    let made: Pick<RecordedEntry, 'entry' | 'effects'> | undefined;
    let refusal: unknown;
    this.waiting += 1;
    try {
      const logged = await shared.appendMade((index) => {
        try {
          made = this.makeAt(index, make);
          return made.entry;
        } catch (error) {
          refusal = error;
          throw error;
        }
      });
      if (made === undefined) throw new Error('the log took an entry that it did not ask for');
      return { ...logged, ...made };
    } catch (cause) {
      throw cause === refusal ? cause : this.failureOf(shared, cause);
    } finally {
      this.waiting -= 1;
    }
  }

  private makeAt(
    index: bigint,
    make: (state: GovernanceState, at: number) => LogEntry,
  ): Pick<RecordedEntry, 'entry' | 'effects'> {
    const { current } = this;
    if (index !== BigInt(current.size))
      throw new Error(`the log gave index ${index} to entry ${current.size}`);
    const made = make(current, this.now());
    const { state, effects } = applyEntry(current, made, current.size);
    const entry = encodeEntry(made);
    checkEntrySize(entry);
    this.current = state;
    return { entry, effects };
  }

  private follower(): EntryFollower {
    return {
      follow: (bytes, index) => {
        this.current = applyEntry(this.current, decodeEntry(bytes), Number(index)).state;
        this.settled = this.current;
      },
      settle: () => {
        this.settled = this.current;
      },
      discard: () => {
        this.current = this.settled;
      },
    };
  }

  /** A shared log goes on after a failure of which it knows that nothing of ours was lost by it. */
  private failureOf(shared: SharedEntryLog, cause: unknown): unknown {
    if (shared.isStopped) {
      this.stopped = true;
      return stoppedRefusal(cause);
    }
    const found = isRefusal(cause) ? cause.refusal.code : 'a failure';
    const facts = { field: 'log', expected: 'a database that answers', found };
    return capacityRefusals.error('server-busy', facts, { cause });
  }

  private refuseWhenUnable(): void {
    if (this.stopped) throw stoppedRefusal();
    if (this.waiting >= MAX_WAITING) {
      const facts = { field: 'log', expected: `at most ${MAX_WAITING} waiting entries`, found: 'more' };
      throw capacityRefusals.error('server-busy', facts);
    }
  }

  private async append(entry: Uint8Array, expectedIndex: number): Promise<LoggedEntry> {
    this.waiting += 1;
    try {
      const logged = await this.log.append(entry);
      if (logged.index === BigInt(expectedIndex)) return logged;
      throw new Error(`the log gave index ${logged.index} to entry ${expectedIndex}`);
    } catch (cause) {
      this.stopped = true;
      throw stoppedRefusal(cause);
    } finally {
      this.waiting -= 1;
    }
  }
}

function offsetOf(clock: Clock): number {
  return clock.posixSeconds() - clock.monotonicMilliseconds() / 1000;
}

function clockRefusal(jump: number, behind: number): Error {
  const facts = {
    field: 'clock',
    expected: `a clock that is set by at most ${CLOCK_TOLERANCE_SECONDS} s, and not before the last entry of the log`,
    found: `set by ${Math.round(jump)} s, ${Math.max(0, Math.round(behind))} s before the last entry`,
  };
  return capacityRefusals.error('server-clock', facts);
}

function begin(entry: LogEntry): GovernanceState {
  if (entry.type !== 'genesis') refuseGenesis(entry.type);
  return initialState(entry);
}

function refuseGenesis(found: string): never {
  throw homeRefusals.error('home-mode', { field: 'log', expected: 'a genesis entry first', found });
}

function stoppedRefusal(cause?: unknown): Error {
  const found = isRefusal(cause) ? cause.refusal.code : 'an append that failed';
  const facts = { field: 'log', expected: 'a log that can be written', found };
  return capacityRefusals.error('server-stopped', facts, { cause });
}
