/** The witnesses of this server's log (docs/spec/witness.md, section 4): who is asked, and whether their quorum is demanded. */

import { join } from 'node:path';

import { fromUtf8 } from '../../attestation/core/bytes.ts';
import { defineRefusals, isRefusal } from '../../attestation/core/refusal.ts';
import type { VerifiedCheckpoint } from '../log/checkpoint.ts';
import { LogWitnesses } from '../log/log-witnesses.ts';
import { trustOf, type LogIdentity } from '../log/publication.ts';
import { verifyTlogProof } from '../log/tlog-proof.ts';
import {
  parseWitnessPolicy,
  requirePolicyForLog,
  type Witnessing,
  type WitnessPolicy,
} from '../log/witness-policy.ts';
import { quorumTime, requireQuorum } from '../log/witnessed-checkpoint.ts';
import type { Clock } from '../platform/clock.ts';
import { readFileBounded } from '../platform/files.ts';
import type { Logger } from '../platform/logging.ts';
import type { HomeConfiguration } from './home-configuration.ts';

export const witnessDemandRefusals = defineRefusals('unavailable', {
  'server-unwitnessed': {
    means: 'The decision stands in the log, but too few witnesses have cosigned it for the key to leave.',
    hint: 'Try again in a moment; if it goes on, the operator of the server has to find out why witnesses do not answer.',
  },
});

const MAX_POLICY_BYTES = 65_536;
const MAX_PEM_BYTES = 256 * 1024;

export class ServerWitnesses {
  /** Undefined where nobody is asked. */
  readonly asked: LogWitnesses | undefined;
  private readonly identity: LogIdentity;
  private readonly policy: WitnessPolicy | undefined;
  private readonly demanded: Witnessing;

  private constructor(
    identity: LogIdentity,
    asked: { readonly by: LogWitnesses; readonly policy: WitnessPolicy } | undefined,
    demanded: Witnessing,
  ) {
    this.identity = identity;
    this.asked = asked?.by;
    this.policy = asked?.policy;
    this.demanded = demanded;
  }

  /**
   * @param home folder that the files of the configuration are relative to
   * @throws RefusalError `witness-policy-*`, `witness-address`, `file-*`, `utf8-malformed`, `log-key-malformed`
   */
  static async open(
    home: string,
    { witnesses }: HomeConfiguration,
    identity: LogIdentity,
    clock: Clock,
  ): Promise<ServerWitnesses> {
    if (witnesses.policy === null) return new ServerWitnesses(identity, undefined, 'not-required');
    const path = join(home, witnesses.policy);
    const policy = parseWitnessPolicy(fromUtf8(await readFileBounded(path, MAX_POLICY_BYTES), path), path);
    requirePolicyForLog(policy, trustOf(identity).keys, path);
    const { authority, timeoutMilliseconds, required } = witnesses;
    const authorityCertificate =
      authority === null
        ? undefined
        : fromUtf8(await readFileBounded(join(home, authority), MAX_PEM_BYTES), authority);
    const by = new LogWitnesses({ policy, authorityCertificate, timeoutMilliseconds, clock });
    return new ServerWitnesses(identity, { by, policy }, required ? policy : 'not-required');
  }

  /** Tells of each witness that did not cosign (WT-20). */
  reportTo(logger: Logger): void {
    this.asked?.onRefusal((url, { code, found }) => {
      if (code === 'witness-unreachable') logger.warn({ url, code, found }, 'witness did not cosign');
      else logger.error({ url, code, found }, 'witness did not cosign');
    });
  }

  /** Whether a checkpoint has the quorum of whom this server asks, and since when; it has where nobody is asked. */
  async standingOf(
    checkpoint: VerifiedCheckpoint,
  ): Promise<{ readonly isMet: boolean; readonly at: bigint | undefined }> {
    if (this.policy === undefined) return { isMet: true, at: undefined };
    try {
      return { isMet: true, at: quorumTime(this.policy, await requireQuorum(checkpoint, this.policy)) };
    } catch (error) {
      if (isRefusal(error) && error.refusal.code === 'log-quorum-missing')
        return { isMet: false, at: undefined };
      throw error;
    }
  }

  /**
   * Demands the quorum for an entry that was just logged, where the operator wants it (WT-19).
   *
   * @param logged with the proof that will be handed out
   * @throws RefusalError `server-unwitnessed`
   */
  async demand({ entry, proof }: { readonly entry: Uint8Array; readonly proof: string }): Promise<void> {
    if (this.demanded === 'not-required') return;
    try {
      await verifyTlogProof(entry, proof, { ...trustOf(this.identity), witnesses: this.demanded });
    } catch (cause) {
      if (!isRefusal(cause) || cause.refusal.code !== 'log-quorum-missing') throw cause;
      const { field, expected, found } = cause.refusal;
      throw witnessDemandRefusals.error('server-unwitnessed', { field, expected, found }, { cause });
    }
  }
}
