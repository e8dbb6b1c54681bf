/** The contract's view of the class `tpm`: a TPM in software whose quotes can be broken one at a time. */

import type { DeviceInputs } from '../../../attestation/core/device-class.ts';
import { toBase64, fromBase64 } from '../../../attestation/core/bytes.ts';
import { encode } from '../../../attestation/core/layout.ts';
import { tpmDeviceClass } from '../../../attestation/tpm/device-class.ts';
import { attest } from '../../../attestation/tpm/layout.ts';
import { makeAuthority } from '../../support/certificates.ts';
import { makeSoftwareAttester } from '../../support/software-attester.ts';
import type { SoftwareAttester } from '../../support/software-attester.ts';
import type { DeviceFixture, Document, SignedWrong } from './fixture.ts';

export async function makeTpmFixture(): Promise<DeviceFixture> {
  const machine = await makeSoftwareAttester();
  const evidence = (await machine.evidence()) as Document;
  const inputs: DeviceInputs = machine.inputs;
  const certificate = makeAuthority('Another TPM vendor').der;
  return {
    deviceClass: tpmDeviceClass,
    evidence,
    inputs,
    binaryMembers: ['akPublic', 'attest', 'signature'],
    zeroPaddedMembers: [],
    reserved: await reservedPlaces(machine, evidence),
    foreignAnchors: inputs.anchors.map(({ name, simulated }) => ({ name, simulated, certificate })),
    expired: { notApplicable: 'endorsement certificates are verified at enrolment, quotes carry none' },
    expectedCodes: {
      anchor: ['tpm-anchor-withdrawn'],
      'device-value': ['tpm-quote-binding'],
      'reference-values': ['tpm-reference-missing'],
    },
  };
}

/** objectAttributes has reserved bits (TPM 2.0 Part 2, section 8.3); `safe` is a flag in a whole byte. */
async function reservedPlaces(machine: SoftwareAttester, good: Document): Promise<readonly SignedWrong[]> {
  const area = fromBase64(good['akPublic'] as string, 'akPublic');
  const attributes = [0, 3, 8, 20, 31].map((bit) => {
    const changed = area.slice();
    // type and nameAlg stand before the attributes, which are big-endian.
    const at = 4 + 3 - (bit >> 3);
    changed[at] = (changed[at] ?? 0) | (1 << (bit & 7));
    return { name: `objectAttributes bit ${bit}`, evidence: { ...good, akPublic: toBase64(changed) } };
  });
  const quote = encode(attest, machine.quote(), 'attest');
  const { pcrSelect, pcrDigest } = machine.quote().attested;
  const selectionBytes = pcrSelect.reduce((total, { select }) => total + 3 + select.length, 4);
  const safeAt = quote.length - pcrDigest.length - 2 - selectionBytes - 8 - 1;
  const changed = quote.slice();
  changed[safeAt] = 0x81;
  return [...attributes, { name: 'safe', evidence: (await machine.evidence(changed)) as Document }];
}
