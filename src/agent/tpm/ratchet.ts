/**
 * The ratchet on the agent's side (docs/spec/lease-clock.md, section 3). Beside the ratchet stands a second index with
 * what leads to its value: the value before the last step, and that step. An agent that was killed anywhere in between
 * finds in the TPM itself where it was, and no state on a disk can be older than the TPM's.
 */

import { concatBytes, equalBytes, toHex } from '../../../attestation/core/bytes.ts';
import { encode } from '../../../attestation/core/layout.ts';
import { Algorithm, signature as signatureLayout } from '../../../attestation/tpm/layout.ts';
import { nvPublicArea, NvIndexAttribute, type NvPublicArea } from '../../../attestation/tpm/nv-index.ts';
import type { PresentedRatchet } from '../../../attestation/tpm/ratchet/evidence.ts';
import {
  extendRatchet,
  RATCHET_AREA,
  RATCHET_BYTES,
  RATCHET_START,
  ratchetStep,
} from '../../../attestation/tpm/ratchet/ratchet-index.ts';
import { defineRefusals } from '../../../attestation/core/refusal.ts';
import { NvIndices } from '../../../native/tpm-commands/nv.ts';
import type { Tpm } from '../../../native/tpm-commands/tpm.ts';
import { withMachineLock } from './machine-lock.ts';

export const ratchetRefusals = defineRefusals('environment', {
  'tpm-ratchet-taken': {
    means: 'An index of the TPM that the ratchet needs is defined as something else.',
    hint: 'See with tpm2_nvreadpublic what uses it; only where nothing does, remove it with tpm2_nvundefine.',
  },
});

/** The past of the ratchet: two values of 32 bytes, side by side. */
const PAST_AREA: NvPublicArea = {
  index: RATCHET_AREA.index + 1,
  nameAlgorithm: Algorithm.sha256,
  attributes: NvIndexAttribute.authWrite | NvIndexAttribute.authRead | NvIndexAttribute.noDA,
  authPolicy: new Uint8Array(0),
  dataBytes: 2 * RATCHET_BYTES,
};
const PREVIOUS_OFFSET = 0;
const STEP_OFFSET = RATCHET_BYTES;
/** What stands for the TPM in the name of the lock. */
const LOCK_NAME_BYTES = 16;

interface Past {
  /** The value now. */
  readonly value: Uint8Array;
  readonly previous: Uint8Array;
  readonly step: Uint8Array;
}

export class Ratchet {
  private readonly indices: NvIndices;
  private readonly lockName: string;
  /** The value that was last presented. */
  private presented: Uint8Array | undefined;

  /** @param identity of the TPM, 32 bytes */
  constructor(tpm: Tpm, identity: Uint8Array) {
    this.indices = new NvIndices(tpm);
    this.lockName = `tpm-ratchet/${toHex(identity.subarray(0, LOCK_NAME_BYTES))}`;
  }

  /**
   * Moves the ratchet by the step of a challenge, unless a step of which no server is known to have heard is there
   * already, and has the value certified.
   *
   * @param key handle of the attestation key
   * @param deviceValue what the evidence is bound to, 32 bytes
   * @throws RefusalError `tpm-ratchet-taken`, `tpm-machine-busy`, `tpm-response`
   */
  present(key: number, deviceValue: Uint8Array): Promise<PresentedRatchet> {
    return withMachineLock(this.lockName, async () => {
      await this.requireIndices();
      const before = await this.readPast();
      const past = isAhead(before) ? before : await this.move(before, ratchetStep(deviceValue));
      const { attest, signature } = await this.indices.certify(
        key,
        RATCHET_AREA.index,
        RATCHET_BYTES,
        deviceValue,
      );
      this.presented = past.value;
      const { previous, step } = past;
      return { attest, signature: encode(signatureLayout, signature, 'signature'), previous, step };
    });
  }

  /** To be called when a server is known to remember what was last presented: the next evidence moves on from there. */
  settle(): Promise<void> {
    return withMachineLock(this.lockName, async () => {
      const { value } = await this.readPast();
      // Another agent of this machine may have moved on meanwhile; what it presented is not ours to settle.
      if (this.presented === undefined || !equalBytes(this.presented, value)) return;
      await this.indices.write(PAST_AREA.index, value, PREVIOUS_OFFSET);
    });
  }

  private async requireIndices(): Promise<void> {
    for (const wanted of [RATCHET_AREA, PAST_AREA]) {
      const found = await this.indices.find(wanted.index);
      if (found === undefined) await this.indices.define(wanted);
      else requireSame(wanted, found);
    }
  }

  private async readPast(): Promise<Past> {
    const value = (await this.indices.read(RATCHET_AREA.index)) ?? RATCHET_START;
    const past = (await this.indices.read(PAST_AREA.index)) ?? new Uint8Array(PAST_AREA.dataBytes);
    return { value, previous: past.slice(0, STEP_OFFSET), step: past.slice(STEP_OFFSET) };
  }

  /** In an order in which whatever is cut off in the middle is understood afterwards (LC-28). */
  private async move({ value }: Past, step: Uint8Array): Promise<Past> {
    await this.indices.write(PAST_AREA.index, concatBytes(value, step), PREVIOUS_OFFSET);
    await this.indices.extend(RATCHET_AREA.index, step);
    return { value: extendRatchet(value, step), previous: value, step };
  }
}

/** Whether the last step led to the present value, so that it may not have been seen by any server. */
function isAhead({ value, previous, step }: Past): boolean {
  return equalBytes(extendRatchet(previous, step), value);
}

function requireSame(wanted: NvPublicArea, found: NvPublicArea): void {
  const attributes = found.attributes & ~NvIndexAttribute.written;
  const asDefined = encode(nvPublicArea, { ...found, attributes }, 'found');
  if (equalBytes(asDefined, encode(nvPublicArea, wanted, 'wanted'))) return;
  throw ratchetRefusals.error('tpm-ratchet-taken', {
    field: `NV index 0x${wanted.index.toString(16)}`,
    expected: `attributes 0x${wanted.attributes.toString(16)} and ${wanted.dataBytes} bytes`,
    found: `attributes 0x${attributes.toString(16)} and ${found.dataBytes} bytes`,
  });
}
