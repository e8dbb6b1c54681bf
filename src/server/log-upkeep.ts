/**
 * What a log needs although nobody asks the server for anything: a checkpoint that is not old (WT-22), the
 * cosignatures that it lacks (WT-23), and heartbeats (RP-36).
 */

import type { HeartbeatEntry } from '../governance/entries.ts';
import type { ReleaseLog } from '../log/release-log.ts';
import type { Clock } from '../platform/clock.ts';
import type { Logger } from '../platform/logging.ts';
import type { Heartbeat } from './heartbeat.ts';
import type { ServerWitnesses } from './witnesses.ts';

export interface LogUpkeepOptions {
  readonly log: Pick<ReleaseLog, 'published' | 'republish'>;
  readonly witnesses: Pick<ServerWitnesses, 'standingOf'>;
  readonly heartbeat: Pick<Heartbeat, 'beat'>;
  readonly clock: Clock;
  readonly republishSeconds: number;
  readonly logger: Logger;
}

export class LogUpkeep {
  private readonly options: LogUpkeepOptions;
  /** The checkpoint that was found last. */
  private note: string;
  /** Since when it is published. That of an earlier run may be of any age. */
  private publishedAtMilliseconds = -Infinity;
  private witnessed: HeartbeatEntry['witnessed'] = null;

  constructor(options: LogUpkeepOptions) {
    this.options = options;
    this.note = options.log.published.checkpoint.note;
  }

  /** Does what is due. Never rejects: what fails is reported, and tried again next time. */
  async look(): Promise<void> {
    const { heartbeat, logger } = this.options;
    await this.attempt('the checkpoint could not be renewed', () => this.renewCheckpoint());
    await this.attempt('no heartbeat could be logged', async () => {
      if (await heartbeat.beat(this.witnessed)) logger.info('a heartbeat was logged');
    });
  }

  private async attempt(failure: string, work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      this.options.logger.error({ reason: String(error) }, failure);
    }
  }

  private async renewCheckpoint(): Promise<void> {
    const { log, clock, republishSeconds } = this.options;
    const now = clock.monotonicMilliseconds();
    this.notice(now);
    const isOld = now - this.publishedAtMilliseconds >= republishSeconds * 1000;
    if ((await this.isWitnessed()) && !isOld) return;
    await log.republish();
    // A signature over the same head may be the same.
    this.publishedAtMilliseconds = now;
    this.note = log.published.checkpoint.note;
    await this.isWitnessed();
  }

  private notice(nowMilliseconds: number): void {
    const { note } = this.options.log.published.checkpoint;
    if (note === this.note) return;
    this.note = note;
    this.publishedAtMilliseconds = nowMilliseconds;
  }

  /** Whether the checkpoint has the quorum that is asked for; what is seen of it stands in the next heartbeat. */
  private async isWitnessed(): Promise<boolean> {
    const { log, witnesses } = this.options;
    const { checkpoint } = log.published;
    const { isMet, at } = await witnesses.standingOf(checkpoint);
    if (isMet && at !== undefined) this.witnessed = { size: Number(checkpoint.size), at: Number(at) };
    return isMet;
  }
}

const LOOK_MILLISECONDS = 30_000;

/** Looks after the log while a server runs. */
export function watchLog(upkeep: LogUpkeep): { stop(): Promise<void> } {
  let running = Promise.resolve();
  const timer = setInterval(() => {
    running = running.then(() => upkeep.look());
  }, LOOK_MILLISECONDS);
  return {
    stop: async () => {
      clearInterval(timer);
      await running;
    },
  };
}
