/**
 * The lease of a running model (docs/spec/release-protocol.md section 7). A lease that is not renewed ends, and with
 * it everything the grant opened (W7). The keeper knows nothing of engines or keys: it says when.
 */

import {
  defineRefusals,
  isRefusal,
  type Refusal,
  type RefusalError,
} from '../../attestation/core/refusal.ts';
import type { Lease } from '../platform/grant-wrap.ts';
import type { LeaseClock } from './lease-clock-reader.ts';

export const leaseRefusals = defineRefusals('unacceptable', {
  'lease-ended': {
    means: 'The lease of the model has ended and was not renewed.',
    hint: 'See why the renewal failed in the lines before; start the agent again once that is mended.',
  },
  'lease-engine-gone': {
    means: 'The engine ended while its lease was held, so nothing is left to serve.',
    hint: 'Look in the log for what ended it; then start the agent again.',
  },
});

/** A lease and the moment from which its length counts. */
export interface HeldLease {
  readonly lease: Lease;
  /** When the request that led to it was sent, in lease time (RP-29, LC-1). */
  readonly requestedAtMilliseconds: number;
}

export interface LeaseKeeperOptions {
  readonly clock: Pick<LeaseClock, 'elapsedMilliseconds' | 'endedBy' | 'tick'>;
  /** Asks for a renewal with fresh evidence. A `RefusalError` that is not `unavailable` is final. */
  readonly renew: (lease: Lease) => Promise<HeldLease>;
  /** Called once, with the reason. */
  readonly onEnd: (reason: Refusal) => void;
  /** Called after each renewal and each failed attempt that will be repeated. */
  readonly onRenewal?: (outcome: 'renewed' | RefusalError) => void;
}

/** How often the clock is read. Well under the second within which a lease must end (RP-31). */
const TICK_MILLISECONDS = 200;
/** Waiting time after an attempt that reached no server, at most; a short lease leaves time for several attempts. */
const RETRY_MILLISECONDS = 5_000;
const RETRY_PART = 0.1;

function lengthMilliseconds(lease: Lease): number {
  return (lease.endsAt - lease.startsAt) * 1000;
}

export class LeaseKeeper {
  private readonly options: LeaseKeeperOptions;
  private held: HeldLease;
  private nextAttemptAt: number;
  private renewing = false;
  private ended = false;
  private readonly ticker: NodeJS.Timeout;

  constructor(held: HeldLease, options: LeaseKeeperOptions) {
    this.options = options;
    this.held = held;
    this.nextAttemptAt = this.firstAttemptAt(held);
    this.ticker = setInterval(() => {
      this.tick();
    }, TICK_MILLISECONDS);
  }

  /** Whether the lease holds at this moment. To be asked before each answer, not only when a timer fires. */
  get isHeld(): boolean {
    return !this.ended && this.options.clock.endedBy === undefined && this.remainingMilliseconds > 0;
  }

  get remainingMilliseconds(): number {
    const endsAt = this.held.requestedAtMilliseconds + lengthMilliseconds(this.held.lease);
    return Math.max(0, endsAt - this.options.clock.elapsedMilliseconds());
  }

  get lease(): Lease {
    return this.held.lease;
  }

  /** Stops watching without ending the lease: for an agent that closes of its own will. */
  stop(): void {
    this.ended = true;
    clearInterval(this.ticker);
  }

  private firstAttemptAt(held: HeldLease): number {
    return held.requestedAtMilliseconds + held.lease.renewAfterSeconds * 1000;
  }

  private tick(): void {
    if (this.ended) return;
    const { clock } = this.options;
    clock.tick();
    if (clock.endedBy !== undefined) {
      this.end(clock.endedBy);
    } else if (this.remainingMilliseconds === 0) {
      this.end(
        leaseRefusals.refusal('lease-ended', {
          field: 'lease',
          expected: 'a renewal before its end',
          found: `none after ${lengthMilliseconds(this.held.lease) / 1000} seconds`,
        }),
      );
    } else if (!this.renewing && clock.elapsedMilliseconds() >= this.nextAttemptAt) {
      this.renewing = true;
      void this.attemptRenewal().finally(() => {
        this.renewing = false;
      });
    }
  }

  private async attemptRenewal(): Promise<void> {
    try {
      const held = await this.options.renew(this.held.lease);
      if (this.ended) return;
      this.held = held;
      this.nextAttemptAt = this.firstAttemptAt(held);
      this.options.onRenewal?.('renewed');
    } catch (error) {
      this.onFailedAttempt(error);
    }
  }

  private onFailedAttempt(error: unknown): void {
    if (this.ended) return;
    if (isRefusal(error) && error.family === 'unavailable') {
      const pause = Math.min(RETRY_MILLISECONDS, RETRY_PART * lengthMilliseconds(this.held.lease));
      this.nextAttemptAt = this.options.clock.elapsedMilliseconds() + pause;
      this.options.onRenewal?.(error);
      return;
    }
    // Anything else is a final no, an error of our own included: fail closed.
    const reason = isRefusal(error)
      ? error.refusal
      : leaseRefusals.refusal('lease-ended', {
          field: 'lease.renewal',
          expected: 'an answer',
          found: error instanceof Error ? error.message : 'an unknown error',
        });
    this.end(reason);
  }

  private end(reason: Refusal): void {
    this.stop();
    this.options.onEnd(reason);
  }
}
