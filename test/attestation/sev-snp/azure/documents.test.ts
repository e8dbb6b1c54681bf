import { describe, expect, it } from 'vitest';

import {
  readAzureVtpmPolicy,
  readAzureVtpmReferenceValues,
} from '../../../../attestation/sev-snp/azure/documents.ts';
import { refusalCode, refusalOf } from '../../../support/refusal-code.ts';
import { LAUNCH, POLICY } from '../lookalike.ts';
import type { Document } from '../lookalike.ts';

const tpm: Document = {
  version: 2,
  class: 'tpm',
  bank: 'sha256',
  pcrs: [0, 7],
  registers: 'reference',
  ratchet: 'none',
  boot: 'any',
  allowUnsafeClock: false,
  deniedFirmware: [],
};
const policy: Document = {
  version: 1,
  class: 'azure-vtpm',
  allowConsole: false,
  allowFilteredDevices: true,
  allowInsecureBoot: false,
  sevSnp: POLICY,
  tpm,
};
const provenance = { source: 'test', recordedAt: 0 };
const reference: Document = {
  version: 2,
  class: 'tpm',
  name: 'machine',
  bank: 'sha256',
  pcrs: { '7': ['11'.repeat(32)] },
  boot: null,
  provenance,
};

describe('policies for machines of Azure', () => {
  it('AZ-18: have a policy for the report, one for the quote, and what is between', () => {
    expect(readAzureVtpmPolicy(policy)).toMatchObject({
      allowConsole: false,
      allowFilteredDevices: true,
      allowInsecureBoot: false,
      sevSnp: POLICY,
      tpm: { selection: { pcrs: [0, 7] }, ratchet: 'none', boot: 'any' },
    });
    for (const member of Object.keys(policy)) {
      const { [member]: _, ...lacking } = policy;
      expect([member, refusalCode(() => readAzureVtpmPolicy(lacking))]).toEqual([member, 'shape-member']);
    }
    expect(refusalCode(() => readAzureVtpmPolicy({ ...policy, note: '' }))).toBe('shape-member');
    expect(refusalCode(() => readAzureVtpmPolicy({ ...policy, allowConsole: 1 }))).toBe('shape-value');
    expect(refusalCode(() => readAzureVtpmPolicy({ ...policy, class: 'tpm' }))).toBe('shape-value');
  });

  it.each(['required', 'exclusive'])('AZ-18: ask for no ratchet that is %s', (ratchet) => {
    const refusal = refusalOf(() => readAzureVtpmPolicy({ ...policy, tpm: { ...tpm, ratchet } }));
    expect(refusal).toMatchObject({ code: 'azure-ratchet', field: 'policy.tpm.ratchet', found: ratchet });
  });

  it('AZ-18: have no rules for the logs of a boot', () => {
    const open = { signers: 'any', revoked: 'any', images: 'any', loader: 'any', uki: 'any', mok: 'any' };
    const boot = { ...open, secureBoot: 'required', files: 'any', agent: 'any' };
    expect(refusalOf(() => readAzureVtpmPolicy({ ...policy, tpm: { ...tpm, boot } }))).toMatchObject({
      code: 'azure-boot-rules',
      field: 'policy.tpm.boot',
    });
  });
});

describe('reference values for machines of Azure', () => {
  it('AZ-18: are those of the TPM, and all others are left to the report', () => {
    const others = [LAUNCH, null, 'tpm', 1, [], {}, { class: 'sev-snp' }];
    expect(readAzureVtpmReferenceValues([reference, ...others])).toMatchObject({
      sevSnp: others,
      tpm: [{ name: 'machine' }],
    });
    expect(readAzureVtpmReferenceValues([])).toEqual({ sevSnp: [], tpm: [] });
    expect(refusalCode(() => readAzureVtpmReferenceValues([{ class: 'tpm' }]))).toBe('shape-member');
  });
});
