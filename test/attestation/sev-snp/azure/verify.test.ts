/** Genuine machines of Azure, driven by the manifest of the shared vectors. */

import { sha256 } from '@noble/hashes/sha2.js';
import { describe, expect, it } from 'vitest';

import { fromHex, toHex } from '../../../../attestation/core/bytes.ts';
import type { JsonValue } from '../../../../attestation/core/canonical-json.ts';
import { isTrusted } from '../../../../attestation/core/trusted.ts';
import { encode } from '../../../../attestation/core/layout.ts';
import { amdAnchors } from '../../../../attestation/sev-snp/anchors/amd-roots.ts';
import { readHclReport, writeHclReport } from '../../../../attestation/sev-snp/azure/layout.ts';
import { readRuntimeClaims } from '../../../../attestation/sev-snp/azure/runtime-claims.ts';
import { verifyAzureVtpm } from '../../../../attestation/sev-snp/azure/verify.ts';
import type { AzureVtpmQuestion } from '../../../../attestation/sev-snp/azure/verify.ts';
import { Algorithm, signature as tpmSignature } from '../../../../attestation/tpm/layout.ts';
import { countOutcomes, flippedBytes } from '../../../support/flipped-bytes.ts';
import { verdictCodes } from '../../../support/refusal-code.ts';
import { loosestPolicy, type Document } from '../../../support/vector-snp-question.ts';
import { openVectorFolder, type VectorFolder } from '../../../support/vector-folder.ts';
import { vectorFolder, vectorsMissing } from '../../../support/vectors.ts';

interface AzureExpectation {
  readonly hcl: Readonly<Record<string, unknown>>;
  readonly runtime_claims: {
    readonly user_data: string;
    readonly vm_configuration: Readonly<Record<string, unknown>>;
  };
  readonly tpm_quote: { readonly extra_data_hex: string; readonly pcr_select: readonly number[] };
  readonly pcrs_sha256: readonly string[];
}

interface AzureVector {
  readonly id: string;
  readonly files: Readonly<
    Record<
      | 'endorsement_cert'
      | 'intermediate'
      | 'root'
      | 'hcl_report'
      | 'tpm_quote_message'
      | 'tpm_quote_signature'
      | 'report',
      string
    >
  >;
  readonly expected: {
    readonly report: Readonly<Record<string, unknown>>;
    readonly verdict: { readonly cert_valid_interval: readonly [string, string] };
    readonly azure_vtpm?: AzureExpectation;
  };
}
type Vector = AzureVector & { readonly azure: AzureExpectation };

const missing = vectorsMissing('snp');
const folder: VectorFolder | undefined =
  missing === undefined ? openVectorFolder(vectorFolder('snp')) : undefined;
const all = (folder?.manifest as { readonly vectors: readonly AzureVector[] } | undefined)?.vectors ?? [];
const vectors = all.flatMap((vector) => {
  const azure = vector.expected.azure_vtpm;
  return azure === undefined ? [] : [{ ...vector, azure }];
});

function file(vector: Vector, name: keyof AzureVector['files']): Uint8Array {
  if (folder === undefined) throw new Error('no vectors');
  return folder.file(vector.files[name]);
}

function policyOf(vector: Vector, changes: Document = {}): Document {
  return {
    version: 1,
    class: 'azure-vtpm',
    allowConsole: true,
    allowFilteredDevices: true,
    allowInsecureBoot: false,
    sevSnp: loosestPolicy(file(vector, 'report')),
    tpm: {
      version: 2,
      class: 'tpm',
      bank: 'sha256',
      pcrs: [...vector.azure.tpm_quote.pcr_select],
      registers: 'reference',
      ratchet: 'none',
      boot: 'any',
      allowUnsafeClock: false,
      deniedFirmware: [],
    },
    ...changes,
  };
}

/** PCR 0 and 7 as they were, and the measurement of the paravisor. */
function referencesOf(vector: Vector): readonly JsonValue[] {
  const values = vector.azure.pcrs_sha256;
  const provenance = { source: 'vectors', recordedAt: 0 };
  const pcrs = { '0': [values[0] ?? ''], '7': [values[7] ?? ''] };
  const origin = {
    method: 'recorded',
    tool: 'vectors',
    toolVersion: '1',
    artefacts: [],
    parameters: {},
    madeAt: 0,
  };
  const measurement = String(vector.expected.report['measurement']);
  return [
    { version: 2, class: 'tpm', name: 'machine', bank: 'sha256', pcrs, boot: null, provenance },
    { version: 1, class: 'sev-snp', kind: 'launch', name: 'paravisor', measurement, provenance: origin },
  ];
}

function questionOf(vector: Vector): AzureVtpmQuestion & { readonly expectedNonce: Uint8Array } {
  const [from, until] = vector.expected.verdict.cert_valid_interval.map((text) => Date.parse(text) / 1000);
  return {
    hclReport: file(vector, 'hcl_report'),
    quote: {
      attest: file(vector, 'tpm_quote_message'),
      signature: file(vector, 'tpm_quote_signature'),
      bank: 'sha256',
      pcrs: new Map(vector.azure.pcrs_sha256.map((value, pcr) => [pcr, fromHex(value, 'pcr')])),
    },
    certificates: {
      vcek: file(vector, 'endorsement_cert'),
      vlek: undefined,
      intermediate: file(vector, 'intermediate'),
      ark: file(vector, 'root'),
    },
    anchors: amdAnchors,
    collateral: new Map(),
    time: Math.floor(((from ?? 0) + (until ?? 0)) / 2),
    expectedNonce: fromHex(vector.azure.tpm_quote.extra_data_hex, 'nonce'),
    policy: policyOf(vector),
    referenceValues: referencesOf(vector),
  };
}

async function codesOf(question: AzureVtpmQuestion): Promise<readonly string[]> {
  return verdictCodes(await verifyAzureVtpm(question));
}

/** Puts other claims into the report and leaves everything else as it is. */
function withClaims(hclReport: Uint8Array, edit: (claims: Uint8Array) => void): Uint8Array {
  const report = readHclReport(hclReport);
  const claims = report.claims.slice();
  edit(claims);
  return writeHclReport({ ...report, claims });
}

describe.skipIf(missing !== undefined)(`machines of Azure ${missing ?? ''}`, () => {
  it('there are vectors', () => {
    expect(vectors.length).toBeGreaterThan(0);
  });

  it.each(vectors)('AZ-1 to AZ-9: $id is read as its manifest says', (vector) => {
    const report = readHclReport(file(vector, 'hcl_report'));
    const { hcl, runtime_claims: claims } = vector.azure;
    expect({
      version: report.version,
      size: report.reportSize,
      dataSize: report.dataSize,
      claimsSize: report.claimsSize,
      padding: report.padding.length,
      claims: toHex(sha256(report.claims)),
    }).toEqual({
      version: hcl['header_version'],
      size: hcl['header_report_size'],
      dataSize: hcl['hcl_data_size'],
      claimsSize: hcl['variable_data_size'],
      padding: hcl['trailing_zero_bytes_in_file'],
      claims: hcl['runtime_claims_sha256'],
    });
    expect(report.hardwareReport).toEqual(file(vector, 'report'));
    const runtime = readRuntimeClaims(report.claims);
    expect(toHex(runtime.userData)).toBe(claims.user_data.toLowerCase());
    expect(runtime.configuration).toMatchObject({
      consoleEnabled: claims.vm_configuration['console-enabled'],
      secureBoot: claims.vm_configuration['secure-boot'],
      vmUniqueId: claims.vm_configuration['vmUniqueId'],
    });
    expect(runtime.configuration.tpmPersisted).toBe(claims.vm_configuration['tpm-persisted']);
  });

  it.each(vectors)('AZ-10 to AZ-17: $id is accepted for its nonce', async (vector) => {
    const verdict = await verifyAzureVtpm(questionOf(vector));
    expect(verdict).toMatchObject({
      outcome: 'accepted',
      claims: {
        simulated: false,
        nonce: vector.azure.tpm_quote.extra_data_hex,
        referenceValues: 'machine',
        report: { referenceValues: 'paravisor', vmpl: 0 },
      },
    });
    expect(verdict.outcome === 'accepted' && isTrusted(verdict.claims)).toBe(true);
    expect(JSON.parse(JSON.stringify(verdict))).toEqual(verdict);
  });

  it.each(vectors)('AZ-13: $id without a nonce is inspected and not accepted', async (vector) => {
    const verdict = await verifyAzureVtpm({ ...questionOf(vector), expectedNonce: undefined });
    expect(verdict.outcome).toBe('inspected');
    expect(verdict.checks.at(-1)).toMatchObject({ id: 'tpm-quote-binding', outcome: 'unjudged' });
    expect(verdict.outcome === 'inspected' && isTrusted(verdict.claims)).toBe(false);
  });

  it.each(vectors)('AZ-12: $id with its signature as TPMT_SIGNATURE', async (vector) => {
    const question = questionOf(vector);
    const members = {
      algorithm: Algorithm.rsassa,
      hash: Algorithm.sha256,
      signature: question.quote.signature,
    };
    const signature = encode(tpmSignature, members, 'signature');
    expect(await codesOf({ ...question, quote: { ...question.quote, signature } })).toEqual(['accepted']);
    const short = question.quote.signature.subarray(1);
    expect(await codesOf({ ...question, quote: { ...question.quote, signature: short } })).not.toEqual([
      'accepted',
    ]);
  });

  it.each(vectors)('AZ-6: $id with one byte of the claims changed', async (vector) => {
    const question = questionOf(vector);
    const hclReport = withClaims(question.hclReport, (claims) => {
      claims[20] = (claims[20] ?? 0) ^ 1;
    });
    expect(await codesOf({ ...question, hclReport })).toEqual(['snp-report-data']);
  });

  it.each(vectors)('AZ-13: $id for another nonce, an empty one and a long one', async (vector) => {
    const question = questionOf(vector);
    const withNonce = (expectedNonce: Uint8Array): Promise<readonly string[]> =>
      codesOf({ ...question, expectedNonce });
    expect(await withNonce(question.expectedNonce.subarray(1))).toEqual(['tpm-quote-binding']);
    expect(await withNonce(new Uint8Array(0))).toEqual(['azure-nonce']);
    expect(await withNonce(new Uint8Array(65))).toEqual(['azure-nonce']);
  });

  it.each(vectors)('AZ-12: $id with an altered quote, and with other PCR values', async (vector) => {
    const question = questionOf(vector);
    const outcomes = await countOutcomes(flippedBytes(question.quote.attest), async (attest) => {
      const [code] = await codesOf({ ...question, quote: { ...question.quote, attest } });
      expect(code).toMatch(/^(?:tpm-quote-(?:magic|type|signature)|layout-)/);
    });
    expect(outcomes).toEqual(new Map([['accepted', question.quote.attest.length]]));
    const pcrs = new Map(question.quote.pcrs).set(3, new Uint8Array(32));
    expect(await codesOf({ ...question, quote: { ...question.quote, pcrs } })).toEqual(['tpm-quote-digest']);
    const policy = policyOf(vector, {
      tpm: { ...((question.policy as Document)['tpm'] as Document), pcrs: [0, 7] },
    });
    expect(await codesOf({ ...question, policy })).toEqual(['tpm-quote-selection']);
  });

  it('AZ-11: the quote of another machine', async () => {
    const [first, second] = vectors.map(questionOf);
    if (first === undefined || second === undefined) throw new Error('two vectors are needed');
    expect(await codesOf({ ...first, quote: second.quote, expectedNonce: second.expectedNonce })).toEqual([
      'tpm-quote-signature',
    ]);
  });

  it.each(vectors)('AZ-14: $id under a paravisor that nobody knows', async (vector) => {
    const question = questionOf(vector);
    const [tpm, paravisor] = question.referenceValues;
    const foreign = { ...(paravisor as Document), measurement: '00'.repeat(48) };
    const referenceValues = [tpm ?? null, foreign];
    expect(await codesOf({ ...question, referenceValues })).toEqual(['snp-measurement']);
  });

  it.each(vectors)('AZ-16 and AZ-17: $id under a policy that wants more', async (vector) => {
    const question = questionOf(vector);
    const strict = policyOf(vector, { allowConsole: false, allowFilteredDevices: false });
    expect(await codesOf({ ...question, policy: strict })).toEqual(['azure-console', 'azure-devices']);
    const [, paravisor] = question.referenceValues;
    const other = { ...(question.referenceValues[0] as Document), pcrs: { '7': ['11'.repeat(32)] } };
    expect(await codesOf({ ...question, referenceValues: [other, paravisor ?? null] })).toEqual([
      'tpm-pcr-value',
    ]);
  });

  it.each(vectors)('AZ-18: $id under documents that are none', async (vector) => {
    const question = questionOf(vector);
    expect(await codesOf({ ...question, policy: null })).toEqual(['shape-value']);
    const { allowConsole: _, ...lacking } = policyOf(vector);
    expect(await codesOf({ ...question, policy: lacking })).toEqual(['shape-member']);
    expect(await codesOf({ ...question, referenceValues: [] })).toEqual([
      'snp-measurement-missing',
      'tpm-reference-missing',
    ]);
    expect(await codesOf({ ...question, hclReport: new Uint8Array(0) })).toEqual(['layout-truncated']);
  });

  it.each(vectors)('AZ-14: $id without AMD’s roots', async (vector) => {
    expect(await codesOf({ ...questionOf(vector), anchors: [] })).toEqual(['path-untrusted']);
  });
});
