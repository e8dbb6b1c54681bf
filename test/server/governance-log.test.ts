import { describe, expect, it } from 'vitest';

import { encodeEntry, statementEntry } from '../../src/governance/entries.ts';
import { makeStatement, signByEach } from '../../src/governance/statements.ts';
import { leafHash } from '../../src/log/merkle.ts';
import type { EntryMaker } from '../../src/log/batch-writer.ts';
import { storageBusyRefusals } from '../../src/log/storage.ts';
import type { EntryFollower } from '../../src/log/writer-tree.ts';
import {
  GovernanceLog,
  type EntryLog,
  type LoggedEntry,
  type SharedEntryLog,
} from '../../src/server/governance-log.ts';
import {
  exampleGenesis,
  examplePredicates,
  predicateOf,
  readyLog,
  signers,
  START,
} from '../support/governance.ts';
import { refusalCode, refusalCodeAsync } from '../support/refusal-code.ts';

const at = START + 40 * 86_400;
const clock = { posixSeconds: () => at, monotonicMilliseconds: () => 0 };

async function* stream(entries: readonly Uint8Array[]): AsyncGenerator<Uint8Array> {
  for (const entry of entries) yield await Promise.resolve(entry);
}

/** A log that answers when it is told to. */
class HeldLog implements EntryLog {
  readonly appended: Uint8Array[] = [];
  private readonly waiting: (() => void)[] = [];
  private next: bigint;

  constructor(size: number) {
    this.next = BigInt(size);
  }

  append(entry: Uint8Array): Promise<LoggedEntry> {
    this.appended.push(entry);
    const index = this.next;
    this.next += 1n;
    return new Promise((resolve) => {
      this.waiting.push(() => {
        resolve({ index, leafHash: leafHash(entry), proof: '' });
      });
    });
  }

  answer(): void {
    for (const resolve of this.waiting.splice(0)) resolve();
  }
}

async function holdBy(signer = signers.anna, changes: object = {}) {
  const predicate = { ...examplePredicates.hold, ...changes };
  const [envelope] = await signByEach(makeStatement('hold/v1', predicateOf('hold/v1', predicate)), [signer]);
  return (_state: unknown, time: number) => statementEntry(time, envelope!);
}

async function openReady(log?: EntryLog) {
  const { entries, state } = await readyLog();
  const held = new HeldLog(entries.length);
  const governance = await GovernanceLog.open(log ?? held, stream(entries.map(encodeEntry)), clock);
  return { governance, held, state };
}

describe('the state of governance in a server', () => {
  it('RP-6: begins with the genesis entry and is the fold over all entries', async () => {
    const { governance, state } = await openReady();
    expect(governance.state).toEqual(state);
    const log = new HeldLog(0);
    expect(await refusalCodeAsync(() => GovernanceLog.open(log, stream([]), clock))).toBe('home-mode');
    const { entries } = await readyLog();
    const withoutGenesis = stream(entries.slice(1).map(encodeEntry));
    expect(await refusalCodeAsync(() => GovernanceLog.open(log, withoutGenesis, clock))).toBe('home-mode');
  });

  it('W2: an entry is applied when it is handed over, and answered when it is durable', async () => {
    const { governance, held } = await openReady();
    let answered = false;
    const recorded = governance.record(await holdBy()).then((entry) => {
      answered = true;
      return entry;
    });
    expect(governance.state.holds.size).toBe(1);
    await Promise.resolve();
    expect(answered).toBe(false);
    held.answer();
    expect((await recorded).effects).toContainEqual(expect.objectContaining({ effect: 'held' }));
  });

  it('GV-3: the time of entries never runs backwards', async () => {
    const { entries, state } = await readyLog();
    const slow = { posixSeconds: () => state.at - 200, monotonicMilliseconds: () => 0 };
    const governance = await GovernanceLog.open(
      new HeldLog(entries.length),
      stream(entries.map(encodeEntry)),
      slow,
    );
    expect(governance.now()).toBe(state.at);
  });

  const YEARS = 10 * 365 * 86_400;

  it.each([-YEARS, -301, 301, YEARS])(
    'LC-17: a clock that is set by %d seconds decides nothing',
    async (jump) => {
      const { entries, state } = await readyLog();
      let [wall, running] = [state.at + 1000, 0];
      const turned = { posixSeconds: () => wall, monotonicMilliseconds: () => running * 1000 };
      const held = new HeldLog(entries.length);
      const governance = await GovernanceLog.open(held, stream(entries.map(encodeEntry)), turned);
      running += 3600;
      wall += 3600;
      expect(governance.now()).toBe(state.at + 4600);
      wall += jump;
      const make = await holdBy(signers.anna);
      expect(await refusalCodeAsync(() => governance.record(make))).toBe('server-clock');
      expect(governance.state.size).toBe(entries.length);
    },
  );

  it('LC-17: a server whose clock stands before its log decides nothing', async () => {
    const { entries, state } = await readyLog();
    const slow = { posixSeconds: () => state.at - YEARS, monotonicMilliseconds: () => 0 };
    const held = new HeldLog(entries.length);
    const governance = await GovernanceLog.open(held, stream(entries.map(encodeEntry)), slow);
    expect(refusalCode(() => governance.now())).toBe('server-clock');
  });

  it('an entry against the rules is refused before it is logged and changes nothing', async () => {
    const { governance, held } = await openReady();
    const before = governance.state;
    const make = await holdBy(signers.mallory);
    expect(await refusalCodeAsync(() => governance.record(make))).toBe('dsse-threshold');
    const second = (): Promise<unknown> => governance.record(() => exampleGenesis());
    expect(await refusalCodeAsync(second)).toMatch(/^governance-/);
    expect(governance.state).toBe(before);
    expect(held.appended).toEqual([]);
    expect(governance.isStopped).toBe(false);
  });

  it('RP-22: after a failed append, or one at another place, nothing is decided any more', async () => {
    const failing: EntryLog = { append: () => Promise.reject(new Error('disk full')) };
    const misplacing: EntryLog = {
      append: (entry) => Promise.resolve({ index: 0n, leafHash: leafHash(entry), proof: '' }),
    };
    for (const log of [failing, misplacing]) {
      const { governance } = await openReady(log);
      const make = await holdBy();
      expect(await refusalCodeAsync(() => governance.record(make))).toBe('server-stopped');
      expect(governance.isStopped).toBe(true);
      expect(await refusalCodeAsync(() => governance.record(make))).toBe('server-stopped');
    }
  });

  it('TL-21: entries that wait are bounded, and room comes back', async () => {
    const { governance, held } = await openReady();
    const enrolment = (i: number) => (_state: unknown, time: number) => ({
      version: 1 as const,
      type: 'enrolment' as const,
      at: time,
      lab: 'lab-one',
      attestationKeyName: `000b${i.toString(16).padStart(64, '0')}`,
      endorsementKeyDigest: examplePredicates.accreditation.machines[0].endorsementKeyDigest,
      endorsementCertificateDigest: '00'.repeat(32),
      simulated: false,
    });
    const waiting = Array.from({ length: 256 }, (_, i) => governance.record(enrolment(i)));
    expect(await refusalCodeAsync(() => governance.record(enrolment(999)))).toBe('server-busy');
    held.answer();
    await Promise.all(waiting);
    const next = governance.record(enrolment(999));
    held.answer();
    expect((await next).index).toBe(BigInt(governance.state.size - 1));
  });
});

/** A log of several servers whose turn comes when a test says so. */
class TurnLog implements SharedEntryLog, EntryLog {
  readonly shared = this;
  isStopped = false;
  follower!: EntryFollower;
  private makers: { make: EntryMaker; resolve(logged: LoggedEntry): void; reject(error: unknown): void }[] =
    [];

  append(): Promise<LoggedEntry> {
    return Promise.reject(new Error('made without its place'));
  }

  appendMade(make: EntryMaker): Promise<LoggedEntry> {
    return new Promise((resolve, reject) => {
      this.makers.push({ make, resolve, reject });
    });
  }

  attach(follower: EntryFollower): Promise<void> {
    this.follower = follower;
    return Promise.resolve();
  }

  refresh(): Promise<void> {
    return this.isStopped ? Promise.reject(new Error('gone')) : Promise.resolve();
  }

  /** Has the waiting entries made from an index on, without an answer yet. */
  make(from: number): readonly Uint8Array[] {
    return this.makers.map(({ make }, i) => make(BigInt(from + i)));
  }

  settle(from: number, entries: readonly Uint8Array[]): void {
    this.follower.settle();
    for (const [i, waiting] of this.makers.splice(0).entries()) {
      waiting.resolve({ index: BigInt(from + i), leafHash: leafHash(entries[i]!), proof: '' });
    }
  }

  fail(error: unknown): void {
    for (const waiting of this.makers.splice(0)) waiting.reject(error);
  }
}

describe('the state of governance on a shared log', () => {
  async function openShared() {
    const { entries } = await readyLog();
    const log = new TurnLog();
    const governance = await GovernanceLog.open(log, stream(entries.map(encodeEntry)), clock);
    return { log, governance, size: entries.length };
  }

  it('TL-41: an entry is made at its place, and made again when another server took that', async () => {
    const { log, governance, size } = await openShared();
    const make = await holdBy();
    const seen: number[] = [];
    const recorded = governance.record((state, time) => {
      seen.push(state.size);
      return make(state, time);
    });
    expect(governance.state.holds.size).toBe(0);
    log.make(size);
    expect(governance.state.holds.size).toBe(1);
    log.follower.discard();
    expect(governance.state.holds.size).toBe(0);
    const other = await holdBy(signers.anna, { target: { kind: 'all', id: 'all' } });
    log.follower.follow(encodeEntry(other({}, at)), BigInt(size));
    expect(governance.state.size).toBe(size + 1);
    log.settle(size + 1, log.make(size + 1));
    expect((await recorded).index).toBe(BigInt(size + 1));
    expect(seen).toEqual([size, size + 1]);
    expect(governance.state.holds.size).toBe(2);
  });

  it('TL-41: an entry of another server that is against the rules is not taken in', async () => {
    const { log, governance, size } = await openShared();
    const mallory = await holdBy(signers.mallory);
    const before = governance.state;
    expect(
      refusalCode(() => {
        log.follower.follow(encodeEntry(mallory({}, at)), BigInt(size));
      }),
    ).toBe('dsse-threshold');
    expect(governance.state).toBe(before);
  });

  it('TL-44: what is known not to stand may be tried again; a log that stopped decides nothing', async () => {
    const { log, governance } = await openShared();
    const make = await holdBy();
    const first = governance.record(make);
    const facts = { field: 'head', expected: 'a turn', found: 'none' };
    log.fail(storageBusyRefusals.error('log-storage-busy', facts));
    expect(await refusalCodeAsync(() => first)).toBe('server-busy');
    expect(governance.isStopped).toBe(false);
    const second = governance.record(make);
    log.isStopped = true;
    log.fail(new Error('gone'));
    expect(await refusalCodeAsync(() => second)).toBe('server-stopped');
    expect(await refusalCodeAsync(() => governance.refresh())).toBe('server-stopped');
    expect(await refusalCodeAsync(() => governance.record(make))).toBe('server-stopped');
  });
});
