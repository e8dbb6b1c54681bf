/** Vectors of Azure machines: the paravisor's report around the hardware report, and a quote by its virtual TPM. */

import { createHash } from 'node:crypto';
import { isDeepStrictEqual } from 'node:util';

import { z } from 'zod';

import { equalBytes, fromHex, toUtf8 } from '../../attestation/core/bytes.ts';
import { readHclReport, writeHclReport } from '../../attestation/sev-snp/azure/layout.ts';
import { verifyAzureVtpm } from '../../attestation/sev-snp/azure/verify.ts';
import type { AzureVtpmQuestion } from '../../attestation/sev-snp/azure/verify.ts';
import type { EditCase, EditRule, EditSubject, Expectation } from './vector-snp-edits.ts';
import { lookalikeOf } from './vector-snp-lookalike.ts';
import type { SnpVector } from './vector-snp-manifest.ts';
import { outcomeOf, snpFile } from './vector-snp-question.ts';
import type { Document, Outcome, Question, SnpSet } from './vector-snp-question.ts';
import type { VectorLine } from './vector-runner.ts';

const azureShape = z.object({
  hcl: z.object({
    header_version: z.number(),
    header_report_size: z.number(),
    request_type: z.number(),
    hcl_data_size: z.number(),
    hcl_data_version: z.number(),
    hw_report_type: z.number(),
    report_data_hash_type: z.number(),
    variable_data_size: z.number(),
    runtime_claims_sha256: z.string(),
    trailing_zero_bytes_in_file: z.number(),
  }),
  tpm_quote: z.object({
    extra_data_hex: z.string(),
    pcr_bank: z.string(),
    pcr_select: z.array(z.number()),
    signature_valid: z.boolean(),
    pcr_digest_matches_pcrs: z.boolean(),
  }),
  pcrs_sha256: z.array(z.string()),
});

function azureOf({ expected }: SnpVector): z.infer<typeof azureShape> {
  return azureShape.parse(expected['azure_vtpm']);
}

/** Registers beyond 15 prove nothing, and unused ones are refused as reference values. */
const LAST_RELIABLE_PCR = 15;

function tpmReference(pcrs: readonly string[]): Document {
  const measured = [...pcrs.entries()].filter(
    ([pcr, value]) => pcr <= LAST_RELIABLE_PCR && !/^(?:00|ff)+$/.test(value),
  );
  return {
    version: 2,
    class: 'tpm',
    name: 'as reported',
    bank: 'sha256',
    pcrs: Object.fromEntries(measured.map(([pcr, value]) => [String(pcr), [value]])),
    boot: null,
    provenance: { source: 'vectors', recordedAt: 0 },
  };
}

/** The question about the whole machine, under policies that only the floors limit. */
export function azureQuestionOf(set: SnpSet, vector: SnpVector, hardware: Question): AzureVtpmQuestion {
  const { files } = vector;
  const { tpm_quote: quote, pcrs_sha256: pcrs } = azureOf(vector);
  const file = (path: string | undefined): Uint8Array => snpFile(set, path ?? '');
  const tpm = {
    version: 2,
    class: 'tpm',
    bank: quote.pcr_bank,
    pcrs: quote.pcr_select,
    registers: 'reference',
    ratchet: 'none',
    boot: 'any',
    allowUnsafeClock: true,
    deniedFirmware: [],
  };
  return {
    ...hardware,
    hclReport: file(files.hcl_report),
    quote: {
      attest: file(files.tpm_quote_message),
      signature: file(files.tpm_quote_signature),
      bank: quote.pcr_bank,
      pcrs: new Map(quote.pcr_select.map((pcr) => [pcr, fromHex(pcrs[pcr] ?? '', 'pcr')])),
    },
    expectedNonce: fromHex(quote.extra_data_hex, 'nonce'),
    policy: {
      version: 1,
      class: 'azure-vtpm',
      allowConsole: true,
      allowFilteredDevices: true,
      allowInsecureBoot: true,
      sevSnp: hardware.policy,
      tpm,
    },
    referenceValues: [...hardware.referenceValues, tpmReference(pcrs)],
  };
}

function askMachine(question: AzureVtpmQuestion): Promise<Outcome> {
  return outcomeOf(() => verifyAzureVtpm(question));
}

/** The report is read as the manifest says, holds the vector's hardware report, and the machine is accepted. */
export async function azureLine(set: SnpSet, vector: SnpVector, hardware: Question): Promise<VectorLine> {
  const { hcl: stated } = azureOf(vector);
  const question = azureQuestionOf(set, vector, hardware);
  const hcl = readHclReport(question.hclReport);
  const found = {
    header_version: hcl.version,
    header_report_size: hcl.reportSize,
    request_type: hcl.requestType,
    hcl_data_size: hcl.dataSize,
    hcl_data_version: hcl.dataVersion,
    hw_report_type: hcl.reportType,
    report_data_hash_type: hcl.claimsHash,
    variable_data_size: hcl.claimsSize,
    runtime_claims_sha256: createHash('sha256').update(hcl.claims).digest('hex'),
    trailing_zero_bytes_in_file: hcl.padding.length,
  };
  const isSame = isDeepStrictEqual(found, stated) && equalBytes(hcl.hardwareReport, hardware.report);
  const { family, codes } = await askMachine(question);
  return {
    subject: `${vector.id}#azure`,
    expected: 'these members, accepted',
    got: `${isSame ? 'these members' : 'others'}, ${family}`,
    code: codes.join(' ') || '-',
    agrees: isSame && family === 'accepted',
  };
}

/** Places in an HCL report (docs/spec/azure-vtpm.md, section 1). */
const HCL = { reportType: 0x4c8, claimsHash: 0x4cc, claimsSize: 0x4d0, claims: 0x4d4 } as const;

function withU32(bytes: Uint8Array, at: number, value: number): Uint8Array {
  const changed = bytes.slice();
  new DataView(changed.buffer).setUint32(at, value, true);
  return changed;
}

function withFlip(bytes: Uint8Array, at: number): Uint8Array {
  return bytes.map((byte, i) => (i === at ? byte ^ 1 : byte));
}

type Change = (question: AzureVtpmQuestion) => AzureVtpmQuestion;

/** How the question about the machine of the subject is changed. */
function machineCase(
  { set, vector, question }: EditSubject,
  change: Change,
  label = '',
  expected: Expectation = 'not authentic',
): EditCase {
  const changed = change(azureQuestionOf(set, vector, question));
  return { label, expected, judge: () => askMachine(changed) };
}

const inReport =
  (edit: (bytes: Uint8Array) => Uint8Array): Change =>
  (question) => ({ ...question, hclReport: edit(question.hclReport) });

const inAttest =
  (edit: (bytes: Uint8Array) => Uint8Array): Change =>
  (question) => ({ ...question, quote: { ...question.quote, attest: edit(question.quote.attest) } });

function numbersIn(text: string): readonly number[] {
  return [...text.replace(/\([^)]*\)/g, '').matchAll(/\b\d+\b/g)].map(([digits]) => Number(digits));
}

/** Two attestation keys in claims whose digest an own hierarchy has signed. */
function twoKeys({ set, vector, question }: EditSubject): EditCase {
  const real = azureQuestionOf(set, vector, question);
  const hcl = readHclReport(real.hclReport);
  const text = Buffer.from(hcl.claims).toString('utf8');
  const judgeClaims = async (edited: string): Promise<Outcome> => {
    const claims = toUtf8(edited);
    const report = question.report.slice();
    report.fill(0, 0x50, 0x90).set(createHash('sha256').update(claims).digest(), 0x50);
    const hardware = lookalikeOf({ set }, vector).question(report);
    const growth = claims.length - hcl.claims.length;
    const hclReport = writeHclReport({
      ...hcl,
      hardwareReport: hardware.report,
      reportSize: hcl.reportSize + growth,
      dataSize: hcl.dataSize + growth,
      claimsSize: claims.length,
      claims,
    });
    return askMachine({ ...azureQuestionOf(set, vector, hardware), hclReport });
  };
  const doubled = text.replace('"HCLEkPub"', '"HCLAkPub"');
  return {
    label: '',
    expected: 'refused',
    judge: async () => {
      const control = await judgeClaims(text);
      if (control.family !== 'accepted')
        throw new Error(`the signed copy is refused: ${control.codes.join()}`);
      return judgeClaims(doubled);
    },
  };
}

export const AZURE_RULES: readonly EditRule<EditSubject>[] = [
  {
    phrase: /^change one byte of the runtime claims JSON$/,
    cases: (_match, subject) => [
      machineCase(
        subject,
        inReport((bytes) => withFlip(bytes, HCL.claims + 100)),
      ),
    ],
  },
  {
    phrase: /^variable_data_size \+ 1, and (0x[0-9A-F]+)$/i,
    cases: ([, size], subject) => [
      machineCase(
        subject,
        inReport((bytes) => withU32(bytes, HCL.claimsSize, readHclReport(bytes).claimsSize + 1)),
        'one more',
      ),
      machineCase(
        subject,
        inReport((bytes) => withU32(bytes, HCL.claimsSize, Number(size))),
        String(size),
      ),
    ],
  },
  {
    phrase: /^hw report type (.+); hash type (.+) with unchanged claims$/,
    cases: ([, types = '', hashes = ''], subject) => [
      ...numbersIn(types).map((type) =>
        machineCase(
          subject,
          inReport((bytes) => withU32(bytes, HCL.reportType, type)),
          `report type ${type}`,
        ),
      ),
      ...numbersIn(hashes).map((hash) =>
        machineCase(
          subject,
          inReport((bytes) => withU32(bytes, HCL.claimsHash, hash)),
          `hash type ${hash}`,
        ),
      ),
    ],
  },
  {
    phrase: /^claims with two keys of kid HCLAkPub/,
    cases: (_match, subject) => [twoKeys(subject)],
  },
  {
    phrase: /^flip one bit of extraData$/,
    cases: (_match, subject) => {
      const [nonceByte = 0] = fromHex(azureOf(subject.vector).tpm_quote.extra_data_hex, 'nonce');
      // magic, type, and TPM2B_NAME stand before extraData and its size.
      const nonceAt = (bytes: Uint8Array): number => 6 + 2 + new DataView(bytes.buffer).getUint16(6) + 2;
      return [
        machineCase(
          subject,
          inAttest((bytes) => {
            if (bytes[nonceAt(bytes)] !== nonceByte) throw new Error('extraData stands elsewhere');
            return withFlip(bytes, nonceAt(bytes));
          }),
        ),
      ];
    },
  },
  {
    phrase: /^magic not [0-9a-f]{8} or type not [0-9a-f]{4}$/,
    cases: (_match, subject) => [
      machineCase(
        subject,
        inAttest((bytes) => withFlip(bytes, 3)),
        'magic',
      ),
      machineCase(
        subject,
        inAttest((bytes) => withFlip(bytes, 5)),
        'type',
      ),
    ],
  },
  {
    phrase: /^use the quote of ([a-z0-9-]+)$/,
    cases: ([, id], subject) => {
      const other = subject.set.manifest.vectors.find((vector) => vector.id === id);
      if (other === undefined) throw new Error(`there is no vector ${String(id)}`);
      const { quote, expectedNonce } = azureQuestionOf(subject.set, other, subject.question);
      return [machineCase(subject, (question) => ({ ...question, quote, expectedNonce }))];
    },
  },
  {
    phrase: /^change one PCR value given beside the quote$/,
    cases: (_match, subject) => [
      machineCase(subject, (question) => {
        const pcrs = new Map(
          [...question.quote.pcrs].map(([pcr, value], i) => [pcr, i === 0 ? withFlip(value, 0) : value]),
        );
        return { ...question, quote: { ...question.quote, pcrs } };
      }),
    ],
  },
  {
    phrase: /^expect another nonce than/,
    cases: (_match, subject) => [
      machineCase(subject, (question) => ({ ...question, expectedNonce: toUtf8('another challenge') })),
    ],
  },
];
