import { describe, expect, it } from 'vitest';

import { toHex } from '../../../../attestation/core/bytes.ts';
import { encode } from '../../../../attestation/core/layout.ts';
import { judge } from '../../../../attestation/core/verdict.ts';
import { appraiseConfiguration, demandParavisor } from '../../../../attestation/sev-snp/azure/appraise.ts';
import { readAttestationKey } from '../../../../attestation/sev-snp/azure/attestation-key.ts';
import type { AzureVtpmPolicy } from '../../../../attestation/sev-snp/azure/documents.ts';
import { readHclReport } from '../../../../attestation/sev-snp/azure/layout.ts';
import { readRuntimeClaims } from '../../../../attestation/sev-snp/azure/runtime-claims.ts';
import type { RuntimeKey, VmConfiguration } from '../../../../attestation/sev-snp/azure/runtime-claims.ts';
import { HOST_REQUESTED } from '../../../../attestation/sev-snp/layout.ts';
import { Algorithm, signature as tpmSignature } from '../../../../attestation/tpm/layout.ts';
import { authenticateStatement } from '../../../../attestation/tpm/quote.ts';
import { refusalCode, verdictCodes } from '../../../support/refusal-code.ts';
import { vectorEntries, vectorFile, vectorsMissing } from '../../../support/vectors.ts';
import { claimsBytes, runtimeClaims } from './samples.ts';

const missing = vectorsMissing('tpm');
interface AzureExpected {
  readonly hcl?: { readonly hwReport?: string };
  readonly attest?: { readonly qualifiedSigner: string };
}
const entries = vectorEntries<AzureExpected>('tpm', 'azure-vtpm').filter(({ files }) => 'hclReport' in files);
const ofHardware = (snp: boolean) =>
  entries.filter(({ expected }) => (expected.hcl?.hwReport === 'tdx') !== snp);
const quoted = ofHardware(true).filter(({ files }) => 'attest' in files);

async function codesOf(work: Parameters<typeof judge>[0]): Promise<readonly string[]> {
  return verdictCodes(await judge(work));
}

describe.skipIf(missing !== undefined)(`attestation keys of Azure ${missing ?? ''}`, () => {
  it.each(quoted)('AZ-11: $id quotes under the Name that follows from the modulus', async (entry) => {
    const { claims } = readHclReport(vectorFile('tpm', entry, 'hclReport'));
    const framed = {
      attest: vectorFile('tpm', entry, 'attest'),
      signature: encode(
        tpmSignature,
        {
          algorithm: Algorithm.rsassa,
          hash: Algorithm.sha256,
          signature: vectorFile('tpm', entry, 'signatureRaw'),
        },
        'signature',
      ),
      bank: 'sha256',
      pcrs: new Map<number, Uint8Array>(),
    };
    const verdict = await judge(async (checks) => {
      const key = readAttestationKey(readRuntimeClaims(claims).attestationKey, checks);
      expect(toHex(key.qualifiedName)).toBe(entry.expected.attest?.qualifiedSigner);
      return await authenticateStatement(framed, { key, qualifiedSigners: [key.qualifiedName] }, checks);
    });
    expect(verdict.outcome).toBe('accepted');
  });

  it.each(ofHardware(false))('AZ-4: $id is of other hardware', (entry) => {
    expect(refusalCode(() => readHclReport(vectorFile('tpm', entry, 'hclReport')))).toBe(
      'azure-hcl-hardware',
    );
  });

  it.each(ofHardware(true).filter(({ files }) => !('attest' in files)))(
    'AZ-10: $id is read, but its key is not marked as one that signs',
    async (entry) => {
      const { claims } = readHclReport(vectorFile('tpm', entry, 'hclReport'));
      const { attestationKey } = readRuntimeClaims(claims);
      expect(await codesOf((checks) => readAttestationKey(attestationKey, checks))).toEqual(['azure-ak-use']);
    },
  );
});

describe('what the paravisor says', () => {
  const { attestationKey, configuration } = readRuntimeClaims(claimsBytes(runtimeClaims));
  const strict: AzureVtpmPolicy = {
    allowConsole: false,
    allowFilteredDevices: false,
    allowInsecureBoot: false,
    sevSnp: null,
    tpm: { selection: { bank: { bank: 'sha256' } } } as AzureVtpmPolicy['tpm'],
  };
  const good: VmConfiguration = { ...configuration, filteredDevicesAllowed: false };

  it('AZ-10: an even modulus and one with leading zeros are no keys', async () => {
    const withModulus = (change: (modulus: Uint8Array) => void): RuntimeKey => {
      const n = attestationKey.n.slice();
      change(n);
      return { ...attestationKey, n };
    };
    const even = withModulus((n) => (n[255] = 0));
    const short = withModulus((n) => (n[0] = 0));
    expect(await codesOf((checks) => readAttestationKey(even, checks))).toEqual(['public-key-invalid']);
    expect(await codesOf((checks) => readAttestationKey(short, checks))).toEqual(['public-key-unsupported']);
  });

  it('AZ-15: a report that was not made for the paravisor counts for nothing', async () => {
    for (const vmpl of [1, 2, 3, 4, HOST_REQUESTED]) {
      const codes = await codesOf((checks) => {
        demandParavisor(vmpl, checks);
        return {};
      });
      expect(codes).toEqual(['azure-vmpl']);
    }
  });

  it('AZ-16: every setting is shown beside what is wanted of it', async () => {
    const shown = async (claimed: Partial<VmConfiguration>, policy: Partial<AzureVtpmPolicy>) => {
      const { checks } = await judge((list) => {
        appraiseConfiguration({ ...good, ...claimed }, { ...strict, ...policy }, list);
        return {};
      });
      return checks.map(({ id, expected, found }) => [id, expected, found]);
    };
    expect(await shown({}, {})).toEqual([
      ['azure-tpm', 'true', 'true'],
      ['azure-secure-boot', 'true', 'true'],
      ['azure-console', 'false', 'false'],
      ['azure-devices', 'false', 'false'],
    ]);
    const open = { allowInsecureBoot: true, allowConsole: true, allowFilteredDevices: true };
    const worse = { tpmEnabled: false, secureBoot: false, consoleEnabled: true };
    expect(await shown({ ...worse, filteredDevicesAllowed: undefined }, open)).toEqual([
      ['azure-tpm', 'true', 'false'],
      ['azure-secure-boot', 'anything', 'false'],
      ['azure-console', 'anything', 'true'],
      ['azure-devices', 'anything', 'not said'],
    ]);
  });

  const cases: readonly (readonly [Partial<VmConfiguration>, keyof AzureVtpmPolicy | undefined, string])[] = [
    [{ tpmEnabled: false }, undefined, 'azure-tpm'],
    [{ secureBoot: false }, 'allowInsecureBoot', 'azure-secure-boot'],
    [{ consoleEnabled: true }, 'allowConsole', 'azure-console'],
    [{ filteredDevicesAllowed: true }, 'allowFilteredDevices', 'azure-devices'],
    [{ filteredDevicesAllowed: undefined }, 'allowFilteredDevices', 'azure-devices'],
  ];
  it.each(cases)('AZ-16: %o is refused, and allowed by %s alone', async (change, allowing, code) => {
    const judged = (claimed: VmConfiguration, policy: AzureVtpmPolicy): Promise<readonly string[]> =>
      codesOf((checks) => {
        appraiseConfiguration(claimed, policy, checks);
        return {};
      });
    expect(await judged(good, strict)).toEqual(['accepted']);
    expect(await judged({ ...good, ...change }, strict)).toEqual([code]);
    const open = { ...strict, allowConsole: true, allowFilteredDevices: true, allowInsecureBoot: true };
    const all = allowing === undefined ? open : { ...open, [allowing]: false };
    expect(await judged({ ...good, ...change }, all)).toEqual([code]);
    const only = allowing === undefined ? strict : { ...strict, [allowing]: true };
    expect(await judged({ ...good, ...change }, only)).toEqual(
      allowing === undefined ? [code] : ['accepted'],
    );
  });
});
