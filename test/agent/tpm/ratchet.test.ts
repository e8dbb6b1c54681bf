import { beforeAll, beforeEach, describe, expect, it } from 'vitest';

import { judge } from '../../../attestation/core/verdict.ts';
import { checkAttestationKey } from '../../../attestation/tpm/attestation-key.ts';
import {
  computeName,
  computeQualifiedName,
  Hierarchy,
  hierarchyName,
} from '../../../attestation/tpm/name.ts';
import type { PresentedRatchet } from '../../../attestation/tpm/ratchet/evidence.ts';
import { extendRatchet, ratchetStep } from '../../../attestation/tpm/ratchet/ratchet-index.ts';
import { authenticateRatchet } from '../../../attestation/tpm/ratchet/verify.ts';
import { attestationKeyTemplates } from '../../../attestation/tpm/templates.ts';
import { type AttestationKey, loadAttestationKey } from '../../../src/agent/tpm/attestation-key.ts';
import { Ratchet } from '../../../src/agent/tpm/ratchet.ts';
import { NvIndices } from '../../../native/tpm-commands/nv.ts';
import { Tpm } from '../../../native/tpm-commands/tpm.ts';
import { refusalCodeAsync } from '../../support/refusal-code.ts';
import { startTestTpm, swtpmMissing, type TestTpm } from '../../support/swtpm.ts';

const value = (n: number): Uint8Array => new Uint8Array(32).fill(n);

describe.skipIf(swtpmMissing !== undefined)('the ratchet in a TPM', () => {
  let machine: TestTpm;
  let tpm: Tpm;
  let key: AttestationKey;
  let identity: Uint8Array;

  beforeAll(async () => {
    machine = await startTestTpm();
    return () => machine.remove();
  }, 60_000);
  beforeEach(async () => {
    tpm = await Tpm.open(machine.tpm.address);
    key = await loadAttestationKey(tpm, attestationKeyTemplates['ecc-p256']);
    identity = computeName(key.publicArea).subarray(2);
    return async () => {
      await tpm.flush(key.handle);
      await tpm.close();
    };
  });

  const authenticate = async (presented: PresentedRatchet, extraData: Uint8Array): Promise<Uint8Array> => {
    const verdict = await judge(async (checks) => {
      const signing = checkAttestationKey(key.publicArea, checks);
      const place = computeQualifiedName(hierarchyName(Hierarchy.endorsement), signing.name);
      const expected = { key: signing, qualifiedSigners: [place], extraData };
      return { value: await authenticateRatchet(presented, expected, checks) };
    });
    if (verdict.outcome === 'refused') throw new Error(verdict.refusals[0].code);
    return verdict.claims.value;
  };

  it('LC-22 to LC-25: is defined, moved by the challenge, and certified for it', async () => {
    const ratchet = new Ratchet(tpm, identity);
    const first = await ratchet.present(key.handle, value(1));
    const shown = await authenticate(first, value(1));
    expect(shown).toEqual(extendRatchet(new Uint8Array(32), ratchetStep(value(1))));
    await ratchet.settle();
    const second = await ratchet.present(key.handle, value(2));
    expect(second.previous).toEqual(shown);
    expect(await authenticate(second, value(2))).toEqual(extendRatchet(shown, ratchetStep(value(2))));
    await ratchet.settle();
  });

  it('LC-28: a step of which no server has heard is shown again, and not followed by another', async () => {
    const first = await new Ratchet(tpm, identity).present(key.handle, value(3));
    const shown = await authenticate(first, value(3));
    // The agent was killed after it: the next one knows nothing but what the TPM holds.
    const again = await new Ratchet(tpm, identity).present(key.handle, value(4));
    expect(await authenticate(again, value(4))).toEqual(shown);
    expect({ previous: again.previous, step: again.step }).toEqual({
      previous: first.previous,
      step: first.step,
    });
  });

  it('LC-28: an agent that is killed between its note and the extension has changed nothing', async () => {
    const ratchet = new Ratchet(tpm, identity);
    const shown = await authenticate(await ratchet.present(key.handle, value(5)), value(5));
    await ratchet.settle();
    const note = new Uint8Array(64);
    note.set(shown);
    note.fill(7, 32);
    await new NvIndices(tpm).write(0x01805748, note, 0);
    const next = await new Ratchet(tpm, identity).present(key.handle, value(6));
    expect(next.previous).toEqual(shown);
    await authenticate(next, value(6));
  });

  it('LC-28: a note that was torn apart loses nothing once the step was settled', async () => {
    const ratchet = new Ratchet(tpm, identity);
    await ratchet.present(key.handle, value(7));
    await ratchet.settle();
    const shown = await new NvIndices(tpm).read(0x01805747);
    await new NvIndices(tpm).write(0x01805748, new Uint8Array(40).fill(0xff), 10);
    const next = await new Ratchet(tpm, identity).present(key.handle, value(8));
    expect(next.previous).toEqual(shown);
    await authenticate(next, value(8));
  });

  it('LC-28: what another agent presented meanwhile is not settled', async () => {
    const one = new Ratchet(tpm, identity);
    const other = new Ratchet(tpm, identity);
    await one.present(key.handle, value(9));
    await one.settle();
    await one.present(key.handle, value(10));
    await one.settle();
    const others = await other.present(key.handle, value(11));
    await one.settle();
    expect(await new Ratchet(tpm, identity).present(key.handle, value(12))).toMatchObject({
      previous: others.previous,
      step: others.step,
    });
  });

  it('LC-22: two agents at the same time move it one after the other', async () => {
    await Promise.all(
      [20, 21].map(async (n) => {
        const own = new Ratchet(tpm, identity);
        await authenticate(await own.present(key.handle, value(n)), value(n));
        await own.settle();
      }),
    );
  });

  it('LC-21: another index under its number is not used', async () => {
    const other = await startTestTpm();
    try {
      const connection = await Tpm.open(other.tpm.address);
      const indices = new NvIndices(connection);
      await indices.define({
        index: 0x01805747,
        nameAlgorithm: 0x000b,
        attributes: 0x02040004,
        authPolicy: new Uint8Array(0),
        dataBytes: 32,
      });
      const present = () => new Ratchet(connection, value(1)).present(key.handle, value(1));
      expect(await refusalCodeAsync(present)).toBe('tpm-ratchet-taken');
      await connection.close();
    } finally {
      await other.remove();
    }
  }, 60_000);
});
