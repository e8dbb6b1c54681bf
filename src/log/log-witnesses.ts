/** The witnesses of a log: all addresses of a policy, asked at the same time after each checkpoint (WT-16 to WT-20). */

import type { Refusal } from '../../attestation/core/refusal.ts';
import type { Clock } from '../platform/clock.ts';
import type { VerifiedCheckpoint } from './checkpoint.ts';
import { historyRefusals } from './start-up.ts';
import type { VerifierKey } from './verifier-key.ts';
import { WitnessClient, type ConsistencyProver } from './witness-client.ts';
import type { WitnessPolicy } from './witness-policy.ts';

export interface LogWitnessesOptions {
  /** Its witnesses with an address are asked; from the operator of the log. */
  readonly policy: WitnessPolicy;
  readonly authorityCertificate?: string | undefined;
  readonly timeoutMilliseconds?: number | undefined;
  readonly clock: Clock;
}

/** Told of each witness that did not cosign. */
export type WitnessRefusalListener = (url: string, refusal: Refusal) => void;

export class LogWitnesses {
  private readonly clients: readonly WitnessClient[];
  private listener: WitnessRefusalListener = () => undefined;

  /** @throws RefusalError `witness-address` */
  constructor({ policy, ...options }: LogWitnessesOptions) {
    const keys = new Map<string, VerifierKey[]>();
    for (const { url, key } of policy.witnesses) {
      if (url !== undefined) keys.set(url, [...(keys.get(url) ?? []), key]);
    }
    this.clients = [...keys].map(([url, ofUrl]) => new WitnessClient({ ...options, url, keys: ofUrl }));
  }

  /** Only the last listener is told. */
  onRefusal(listener: WitnessRefusalListener): void {
    this.listener = listener;
  }

  /** The note of the checkpoint with every cosignature that was to be had, few or none. Never rejects for a witness. */
  async cosign(checkpoint: VerifiedCheckpoint, prove: ConsistencyProver): Promise<string> {
    const replies = await Promise.all(this.clients.map((client) => client.ask(checkpoint, prove)));
    for (const { url, refusal } of replies) if (refusal !== undefined) this.listener(url, refusal);
    return `${checkpoint.note}${replies.flatMap(({ lines }) => lines).join('')}`;
  }

  /** @throws RefusalError `log-not-as-witnessed` */
  async confirm(checkpoint: VerifiedCheckpoint, prove: ConsistencyProver): Promise<void> {
    const replies = await Promise.all(this.clients.map((client) => client.ask(checkpoint, prove)));
    for (const { url, refusal } of replies) {
      if (refusal?.code !== 'witness-inconsistent') continue;
      const { expected, found } = refusal;
      throw historyRefusals.error('log-not-as-witnessed', { field: url, expected, found });
    }
  }

  close(): void {
    for (const client of this.clients) client.close();
  }
}
