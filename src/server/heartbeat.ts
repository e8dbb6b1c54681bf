/** Says in the log that this server is alive, and what it saw that left no entry (docs/spec/release-protocol.md, RP-36). */

import type { HeartbeatEntry } from '../governance/entries.ts';
import { waitingStatements } from '../governance/quorum.ts';
import type { GovernanceState } from '../governance/state.ts';
import type { Clock } from '../platform/clock.ts';
import { randomHandle } from './challenge.ts';
import type { GovernanceLog } from './governance-log.ts';
import type { Counted, RequestCounts } from './request-counts.ts';

export interface HeartbeatOptions {
  readonly governance: GovernanceLog;
  readonly counts: RequestCounts;
  readonly clock: Clock;
  /** Names this program. */
  readonly serverBuild: string;
  readonly intervalSeconds: number;
}

/** One run of a server, from its start on. */
export class Heartbeat {
  private readonly options: HeartbeatOptions;
  private readonly run = randomHandle();
  private readonly startedAt: number;

  constructor(options: HeartbeatOptions) {
    this.options = options;
    const { clock, governance } = options;
    this.startedAt = Math.max(clock.posixSeconds(), governance.state.at);
  }

  /**
   * Logs a heartbeat where one is due.
   *
   * @param witnessed what this run knows to be cosigned by a quorum
   * @returns whether one was logged
   * @throws RefusalError `server-clock`, `server-stopped`, `server-busy`
   */
  async beat(witnessed: HeartbeatEntry['witnessed']): Promise<boolean> {
    const { governance, counts } = this.options;
    if (!this.isDue(governance.state, governance.now())) return false;
    const counted = counts.current();
    await governance.record((state, at) => this.entry(state, at, counted, witnessed));
    counts.settle(counted);
    return true;
  }

  /** A run that begins in a silence of its log ends it; otherwise it counts for an interval first. */
  private isDue({ heartbeats: { last, runs } }: GovernanceState, at: number): boolean {
    const { startedAt, run } = this;
    const from = runs.get(run)?.at ?? Math.min(last?.at ?? startedAt, startedAt);
    // A clock may be set back a little after the start (LC-17).
    return at >= startedAt && at - from >= this.options.intervalSeconds;
  }

  private entry(
    state: GovernanceState,
    at: number,
    { handedOut, refusals }: Counted,
    witnessed: HeartbeatEntry['witnessed'],
  ): HeartbeatEntry {
    const { last, decisions, runs } = state.heartbeats;
    const { intervalSeconds, serverBuild } = this.options;
    return {
      version: 1,
      type: 'heartbeat',
      at,
      previous: last?.index ?? null,
      run: this.run,
      startedAt: this.startedAt,
      countedFrom: runs.get(this.run)?.at ?? this.startedAt,
      intervalSeconds,
      serverBuild,
      decisions: { ...decisions },
      pendingStatements: waitingStatements(state, at),
      handedOut: { ...handedOut },
      refusals: [...refusals]
        .map(([code, count]) => ({ code, count }))
        .sort((one, other) => (one.code < other.code ? -1 : 1)),
      witnessed,
    };
  }
}
