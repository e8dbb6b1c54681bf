/** A machine of Azure in software, so that each rule of the paravisor can be broken under signatures that hold. */

import { createHash, generateKeyPairSync, sign } from 'node:crypto';

import { beforeAll, describe, expect, it } from 'vitest';

import { concatBytes, toHex } from '../../../../attestation/core/bytes.ts';
import { encode } from '../../../../attestation/core/layout.ts';
import type { Accepted } from '../../../../attestation/core/verdict.ts';
import { attestationKeyArea } from '../../../../attestation/sev-snp/azure/attestation-key.ts';
import type { AzureVtpmClaims } from '../../../../attestation/sev-snp/azure/claims.ts';
import { writeHclReport } from '../../../../attestation/sev-snp/azure/layout.ts';
import { verifyAzureVtpm } from '../../../../attestation/sev-snp/azure/verify.ts';
import type { AzureVtpmQuestion } from '../../../../attestation/sev-snp/azure/verify.ts';
import { certificatesOfTable } from '../../../../attestation/sev-snp/evidence.ts';
import type { AttestationReport } from '../../../../attestation/sev-snp/layout.ts';
import { attest, AttestType, TPM_GENERATED } from '../../../../attestation/tpm/layout.ts';
import {
  computeName,
  computeQualifiedName,
  Hierarchy,
  hierarchyName,
} from '../../../../attestation/tpm/name.ts';
import { selectPcrs } from '../../../../attestation/tpm/pcr-selection.ts';
import { tpmHash } from '../../../../attestation/tpm/hash.ts';
import {
  manufactureSimulatedGuest,
  SimulatedSevGuest,
} from '../../../../src/agent/simulated/sev-snp-guest.ts';
import type { SimulatedAmd } from '../../../../src/agent/simulated/sev-snp-authority.ts';
import { verdictCodes } from '../../../support/refusal-code.ts';
import { simulatedAmd } from '../../../support/simulated-amd.ts';
import { temporaryFolder } from '../../../support/temporary-folder.ts';
import { loosestPolicy } from '../../../support/vector-snp-question.ts';
import { attestationKeyClaim, claimsBytes, configurationClaim, hclReportOf } from './samples.ts';

const nonce = new Uint8Array(32).fill(9);
const PCRS = [0, 7];
const values = new Map(PCRS.map((pcr) => [pcr, new Uint8Array(32).fill(pcr + 1)]));
const bank = tpmHash(0x000b, 'bank');
const key = generateKeyPairSync('rsa', { modulusLength: 2048 });
const modulus = key.publicKey.export({ format: 'jwk' }).n ?? '';
const keyClaim = { ...attestationKeyClaim, n: modulus };

let amd: SimulatedAmd;
beforeAll(() => {
  amd = simulatedAmd('Milan');
}, 120_000);

interface Changes {
  readonly claims?: object;
  readonly report?: Partial<AttestationReport>;
  readonly attributes?: number;
  readonly safe?: 0 | 1;
}

const goodClaims = { keys: [keyClaim], 'vm-configuration': configurationClaim };

function quoteOf({ attributes, safe = 1 }: Changes): AzureVtpmQuestion['quote'] {
  const area = attestationKeyArea(new Uint8Array(Buffer.from(modulus, 'base64url')));
  const name = computeName(attributes === undefined ? area : { ...area, objectAttributes: attributes });
  const digest = bank.digest(concatBytes(...values.values()));
  const statement = encode(
    attest,
    {
      magic: TPM_GENERATED,
      type: AttestType.quote,
      qualifiedSigner: computeQualifiedName(hierarchyName(Hierarchy.endorsement), name),
      extraData: nonce,
      clockInfo: { clock: 1n, resetCount: 1, restartCount: 0, safe },
      firmwareVersion: 1n,
      attested: { pcrSelect: selectPcrs({ bank, pcrs: PCRS }), pcrDigest: digest },
    },
    'attest',
  );
  const signature = new Uint8Array(sign('sha256', statement, key.privateKey));
  return { attest: statement, signature, bank: 'sha256', pcrs: values };
}

async function machine(changes: Changes = {}): Promise<AzureVtpmQuestion> {
  const folder = await temporaryFolder();
  await manufactureSimulatedGuest(
    folder,
    amd,
    changes.report === undefined ? {} : { report: changes.report },
  );
  const guest = await SimulatedSevGuest.open(folder);
  const claims = claimsBytes(changes.claims ?? goodClaims);
  const digest = createHash('sha256').update(claims).digest();
  const { report, certificateTable } = await guest.report(concatBytes(digest, new Uint8Array(32)));
  const origin = {
    method: 'recorded',
    tool: 'test',
    toolVersion: '1',
    artefacts: [],
    parameters: {},
    madeAt: 0,
  };
  const launch = { version: 1, class: 'sev-snp', kind: 'launch', name: 'paravisor', provenance: origin };
  const pcrs = Object.fromEntries([...values].map(([pcr, value]) => [String(pcr), [toHex(value)]]));
  const tpm = { version: 2, class: 'tpm', bank: 'sha256' };
  const provenance = { source: 'test', recordedAt: 0 };
  return {
    hclReport: writeHclReport(hclReportOf(report, claims)),
    quote: quoteOf(changes),
    certificates: certificatesOfTable(certificateTable, 'table'),
    anchors: [{ name: 'simulated ARK-Milan', certificate: amd.root, simulated: true }],
    collateral: new Map(),
    time: Math.floor(Date.now() / 1000),
    expectedNonce: nonce,
    policy: {
      ...{ version: 1, class: 'azure-vtpm', allowConsole: false, allowFilteredDevices: true },
      allowInsecureBoot: false,
      sevSnp: loosestPolicy(report),
      tpm: {
        ...tpm,
        pcrs: PCRS,
        registers: 'reference',
        ratchet: 'none',
        boot: 'any',
        allowUnsafeClock: changes.safe === 0,
        deniedFirmware: [],
      },
    },
    referenceValues: [
      { ...launch, measurement: toHex(report.subarray(0x90, 0xc0)) },
      { ...tpm, name: 'machine', pcrs, boot: null, provenance },
    ],
  };
}

async function codesOf(changes: Changes): Promise<readonly string[]> {
  return verdictCodes(await verifyAzureVtpm(await machine(changes)));
}

describe('a simulated machine of Azure', () => {
  it('AZ-14: is accepted as simulated, by the root that the operator gave', async () => {
    const claimed = { ...goodClaims, 'user-data': '00FF' };
    const verdict = await verifyAzureVtpm(await machine({ claims: claimed }));
    expect(verdict.outcome).toBe('accepted');
    const { claims } = verdict as Accepted<AzureVtpmClaims>;
    const { report, ...rest } = claims;
    expect(report).toMatchObject({ simulated: true, vmpl: 0, referenceValues: 'paravisor' });
    const area = attestationKeyArea(new Uint8Array(Buffer.from(modulus, 'base64url')));
    expect(rest).toEqual({
      simulated: true,
      vmUniqueId: configurationClaim.vmUniqueId,
      secureBoot: true,
      consoleEnabled: false,
      userData: '00ff',
      akName: toHex(computeName(area)),
      nonce: toHex(nonce),
      bank: 'sha256',
      pcrs: Object.fromEntries([...values].map(([pcr, value]) => [String(pcr), toHex(value)])),
      referenceValues: 'machine',
      clock: '1',
      clockSafe: true,
      resetCount: 1,
      restartCount: 0,
    });
  });

  it('AZ-17: is shown to have a clock that is not safe, where the policy allows one', async () => {
    const verdict = await verifyAzureVtpm(await machine({ safe: 0 }));
    expect(verdict).toMatchObject({ outcome: 'accepted', claims: { clockSafe: false } });
  });

  it('AZ-13: has a nonce of 1 to 64 bytes, and is only inspected without one', async () => {
    const question = await machine();
    const codes = async (expectedNonce: Uint8Array | undefined) =>
      verdictCodes(await verifyAzureVtpm({ ...question, expectedNonce }));
    for (const length of [1, 64]) expect(await codes(new Uint8Array(length))).toEqual(['tpm-quote-binding']);
    for (const length of [0, 65]) expect(await codes(new Uint8Array(length))).toEqual(['azure-nonce']);
    const inspected = await verifyAzureVtpm({ ...question, expectedNonce: undefined });
    expect(verdictCodes(inspected)).toEqual(['inspected']);
    expect(inspected.checks.at(-1)).toMatchObject({ field: 'attest.extraData', found: toHex(nonce) });
    const withoutRoot = await verifyAzureVtpm({ ...question, expectedNonce: undefined, anchors: [] });
    expect(verdictCodes(withoutRoot)).toEqual(['path-untrusted']);
  });

  it('AZ-15: a report that the machine asked for itself is refused, whatever it holds', async () => {
    for (const vmpl of [1, 2, 3]) expect(await codesOf({ report: { vmpl } })).toEqual(['azure-vmpl']);
  });

  it('AZ-9: two attestation keys in signed claims are refused', async () => {
    const keys = [keyClaim, attestationKeyClaim];
    expect(await codesOf({ claims: { ...goodClaims, keys } })).toEqual(['azure-claims-keys']);
  });

  it('AZ-10: another key in signed claims does not verify the quote', async () => {
    expect(await codesOf({ claims: { ...goodClaims, keys: [attestationKeyClaim] } })).toEqual([
      'tpm-quote-signature',
    ]);
    const keys = [{ ...keyClaim, key_ops: ['encrypt'] }];
    expect(await codesOf({ claims: { ...goodClaims, keys } })).toEqual(['azure-ak-use']);
  });

  it('AZ-11: a quote by a key of another template is refused', async () => {
    const unrestricted = 0x00040472;
    expect(await codesOf({ attributes: unrestricted })).toEqual(['tpm-quote-signer']);
  });

  it('AZ-16: settings that the operator does not want are refused, all of them at once', async () => {
    const configuration = {
      ...configurationClaim,
      'console-enabled': true,
      'secure-boot': false,
      'tpm-enabled': false,
    };
    const claims = { ...goodClaims, 'vm-configuration': configuration };
    expect(await codesOf({ claims })).toEqual(['azure-tpm', 'azure-secure-boot', 'azure-console']);
  });
});
