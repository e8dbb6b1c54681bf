/** Certifications of one key of a TPM by another (docs/spec/tpm-identity.md, section 3). */

import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';

import { concatBytes, toHex } from '../../../attestation/core/bytes.ts';
import { encode } from '../../../attestation/core/layout.ts';
import { computeCertificationBinding } from '../../../attestation/tpm/certification-binding.ts';
import { verifyCertifiedKey } from '../../../attestation/tpm/certified-enrolment.ts';
import type {
  CertifiedKeyEvidence,
  CertifiedKeyInputs,
} from '../../../attestation/tpm/certified-enrolment.ts';
import {
  attest,
  AttestType,
  ObjectAttribute,
  publicArea,
  TPM_GENERATED,
} from '../../../attestation/tpm/layout.ts';
import type { Attest, CertifyAttest, PublicArea } from '../../../attestation/tpm/layout.ts';
import {
  computeName,
  computeQualifiedName,
  Hierarchy,
  hierarchyName,
} from '../../../attestation/tpm/name.ts';
import { enrolmentOf, makeSoftwareAttester, type SoftwareAttester } from '../../support/software-attester.ts';

const extraData = new Uint8Array(32).fill(7);

function placeOf(name: Uint8Array, hierarchy: number = Hierarchy.endorsement): Uint8Array {
  return computeQualifiedName(hierarchyName(hierarchy), name);
}

let certifier: SoftwareAttester;
let certified: SoftwareAttester;
let inputs: CertifiedKeyInputs;

beforeAll(async () => {
  certifier = await makeSoftwareAttester('ecc-p256');
  certified = await makeSoftwareAttester('rsa-2048');
  const { lab, anchors, enrolment } = certifier.inputs;
  inputs = { lab, anchors, enrolment, extraData };
});

function statementOf(area: PublicArea, changes: Partial<CertifyAttest> = {}): CertifyAttest {
  const name = computeName(area);
  return {
    magic: TPM_GENERATED,
    type: AttestType.certify,
    qualifiedSigner: placeOf(certifier.name),
    extraData,
    clockInfo: { clock: 5000n, resetCount: 7, restartCount: 1, safe: 1 },
    firmwareVersion: 1n,
    attested: { name, qualifiedName: placeOf(name) },
    ...changes,
  };
}

/** A right certification of the key, by the changed statement or the changed evidence. */
async function evidenceOf(
  changes: {
    readonly area?: PublicArea;
    readonly statement?: Attest;
    readonly evidence?: Partial<CertifiedKeyEvidence>;
  } = {},
): Promise<CertifiedKeyEvidence> {
  const area = changes.area ?? certified.publicArea;
  const bytes = encode(attest, changes.statement ?? statementOf(area), 'attest');
  return {
    certifyingKey: encode(publicArea, certifier.publicArea, 'certifyingKey'),
    attestationKey: encode(publicArea, area, 'attestationKey'),
    attest: bytes,
    signature: await certifier.sign(bytes),
    ...changes.evidence,
  };
}

async function codeOf(
  evidence: CertifiedKeyEvidence,
  changes: Partial<CertifiedKeyInputs> = {},
): Promise<string> {
  const verdict = await verifyCertifiedKey(evidence, { ...inputs, ...changes });
  return verdict.outcome === 'accepted' ? 'accepted' : verdict.refusals[0].code;
}

describe('a key that an enrolled key certified', () => {
  it('EK-16: has the record of the one that certified it, under its own Name', async () => {
    const verdict = await verifyCertifiedKey(await evidenceOf(), inputs);
    expect(verdict).toMatchObject({
      outcome: 'accepted',
      claims: {
        attestationKeyName: toHex(certified.name),
        certifyingKeyName: toHex(certifier.name),
        simulated: true,
        record: { ...enrolmentOf(certified.name, certifier.anchor), ekName: toHex(certifier.name) },
      },
    });
  });

  it('EK-16: stays frozen where its machine is', async () => {
    const frozen = { ...enrolmentOf(certifier.name, certifier.anchor), frozen: 'tpm-ratchet-fork' };
    const verdict = await verifyCertifiedKey(await evidenceOf(), { ...inputs, enrolment: frozen });
    expect(verdict).toMatchObject({ claims: { record: { frozen: 'tpm-ratchet-fork' } } });
  });

  it('EK-14: is refused when the statement is of another kind or was made outside a TPM', async () => {
    const statement = statementOf(certified.publicArea, { magic: 0 });
    expect(await codeOf(await evidenceOf({ statement }))).toBe('tpm-certify-magic');
    const quote = certifier.quote({ extraData });
    expect(await codeOf(await evidenceOf({ statement: quote }))).toBe('tpm-certify-type');
  });

  it('EK-14: is refused when another key signed, or under another name', async () => {
    const right = await evidenceOf();
    const foreign = await makeSoftwareAttester('ecc-p256');
    const signature = await foreign.sign(right.attest);
    expect(await codeOf({ ...right, signature })).toBe('tpm-certify-signature');
    const other = await certified.sign(right.attest);
    expect(await codeOf({ ...right, signature: other })).toBe('tpm-certify-signature-scheme');
    for (const qualifiedSigner of [new Uint8Array(0), placeOf(certifier.name, Hierarchy.owner)]) {
      const statement = statementOf(certified.publicArea, { qualifiedSigner });
      expect(await codeOf(await evidenceOf({ statement }))).toBe('tpm-certify-signer');
    }
  });

  it('EK-14: is refused when it was certified for another challenge', async () => {
    expect(await codeOf(await evidenceOf(), { extraData: new Uint8Array(32) })).toBe('tpm-certify-binding');
    const statement = statementOf(certified.publicArea, { extraData: new Uint8Array(0) });
    expect(await codeOf(await evidenceOf({ statement }))).toBe('tpm-certify-binding');
  });

  it('EK-15: is refused when another object was certified, or one in another hierarchy', async () => {
    const { publicArea: other } = await makeSoftwareAttester('ecc-p256');
    const evidence = await evidenceOf({ evidence: { attestationKey: encode(publicArea, other, 'other') } });
    expect(await codeOf(evidence)).toBe('tpm-certify-name');
    const attested = {
      name: certified.name,
      qualifiedName: placeOf(certified.name, Hierarchy.owner),
    };
    const statement = statementOf(certified.publicArea, { attested });
    expect(await codeOf(await evidenceOf({ statement }))).toBe('tpm-certify-place');
  });

  it.each([
    ['signs anything', ObjectAttribute.restricted],
    ['can leave the TPM', ObjectAttribute.fixedTPM],
    ['was made elsewhere', ObjectAttribute.sensitiveDataOrigin],
  ])('EK-15: is refused when it %s', async (_what, attribute) => {
    const area = {
      ...certified.publicArea,
      objectAttributes: certified.publicArea.objectAttributes & ~attribute,
    };
    expect(await codeOf(await evidenceOf({ area }))).toBe('tpm-ak-attributes');
  });

  it('EK-12: is refused without an enrolment of the certifying key, by the lab that asks', async () => {
    const evidence = await evidenceOf();
    expect(await codeOf(evidence, { enrolment: undefined })).toBe('tpm-not-enrolled');
    const other = enrolmentOf(certified.name, certifier.anchor);
    expect(await codeOf(evidence, { enrolment: other })).toBe('tpm-other-key');
    expect(await codeOf(evidence, { lab: 'lab-two' })).toBe('tpm-other-lab');
    expect(await codeOf(evidence, { anchors: [] })).toBe('tpm-anchor-withdrawn');
  });

  it('EV-5: any bytes get a verdict, and no changed byte is accepted', async () => {
    const right = await evidenceOf();
    const members = ['certifyingKey', 'attestationKey', 'attest', 'signature'] as const;
    const change = fc.record({
      member: fc.constantFrom(...members),
      at: fc.nat(),
      mask: fc.integer({ min: 1, max: 255 }),
    });
    await fc.assert(
      fc.asyncProperty(change, async ({ member, at, mask }) => {
        const bytes = right[member].slice();
        const place = at % bytes.length;
        bytes[place] = (bytes[place] ?? 0) ^ mask;
        expect(await codeOf({ ...right, [member]: bytes })).not.toBe('accepted');
      }),
      { numRuns: 150 },
    );
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...members), fc.uint8Array(), async (member, bytes) => {
        expect(await codeOf({ ...right, [member]: bytes })).not.toBe('accepted');
      }),
      { numRuns: 50 },
    );
    const longer = concatBytes(right.attest, new Uint8Array(1));
    expect(await codeOf({ ...right, attest: longer })).toBe('layout-trailing');
  });
});

describe('what a certification is bound to', () => {
  const given = {
    nonce: new Uint8Array(32).fill(1),
    lab: 'lab-one',
    logOrigin: 'log.example/evaluation',
    certifyingKeyName: new Uint8Array(34).fill(2),
    attestationKeyName: new Uint8Array(34).fill(3),
  };

  it.each([
    { nonce: new Uint8Array(32) },
    { lab: 'lab-two' },
    { logOrigin: 'log.example' },
    { certifyingKeyName: new Uint8Array(34) },
    { attestationKeyName: new Uint8Array(34) },
    { certifyingKeyName: given.attestationKeyName, attestationKeyName: given.certifyingKeyName },
  ])('EK-14: changes with %o', (change) => {
    const bindings = [given, { ...given, ...change }].map((one) => toHex(computeCertificationBinding(one)));
    expect(new Set(bindings).size).toBe(2);
    expect(bindings[0]).toHaveLength(64);
  });
});
