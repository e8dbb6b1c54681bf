/**
 * Vectors of a GPU whose evidence a CPU's quote names, in the form of another project. What is ours is judged: the evidence of the
 * GPU, and that the quote names exactly these bytes. The quote's own signatures are not: there is no device class for TDX here.
 */

import { sha256 } from '@noble/hashes/sha2.js';
import { z } from 'zod';

import { concatBytes, equalBytes, fromHex, fromUtf8, toHex, toUtf8 } from '../../attestation/core/bytes.ts';
import { readPem } from '../../attestation/core/pem.ts';
import { judge } from '../../attestation/core/verdict.ts';
import { readCertificate } from '../../attestation/core/x509.ts';
import { readDeviceReport } from '../../attestation/nvidia-gpu/report.ts';
import { fileOf } from './vector-nvidia-case.ts';
import type { CaseOf, NvidiaCase } from './vector-nvidia-case.ts';
import { authenticate, nonceOf, presentedDevices } from './vector-nvidia-devices.ts';
import type { PresentedEvidence } from './vector-nvidia-devices.ts';
import { evidenceChecks } from './vector-nvidia-evidence.ts';
import { membersLine, refusalsOf } from './vector-nvidia-judgement.ts';
import type { CheckTable, KindJudge, Members } from './vector-nvidia-judgement.ts';
import { chainMembers, familyOf, gpuMembers, reportMembers } from './vector-nvidia-members.ts';

/** What the other project's document and the quote of its CPU say. Names of its checks, where it is no code of ours. */
const checks: CheckTable = {
  report_data: ['report_data'],
  report_data_nonce: ['report_data_nonce'],
  gpu_evidence_hash: ['gpu_evidence_hash'],
  tls_key: ['tls_key'],
  gpu_nonce: ['gpu-nonce', 'gpu-nonce-zero'],
  gpu_signature: ['gpu-signature', 'gpu-signature-range'],
  gpu_chain: ['gpu-chain-*', 'path-*', 'gpu-root', 'gpu-root-validity', 'gpu-leaf-usage'],
  gpu_fwid: ['gpu-fwid', 'gpu-fwid-missing'],
  tdx_quote_signature: [],
  tdx_qe_report_signature: [],
  tdx_qe_binds_key: [],
  tdx_pck_chain_links: [],
};

export const compositeJudge: KindJudge<CaseOf<'composite'>> = {
  checks,
  unjudged: 'the signatures of the TDX quote are not judged: there is no device class for TDX here',
  async refusals(subject) {
    const time = Date.parse(subject.set.manifest.generated) / 1000;
    const ofDevices = await refusalsOf(() =>
      judge(async (checklist) => {
        const challenge = { expectedNonce: nonceOf(subject), time };
        for (const device of devicesOf(subject)) await authenticate(device, challenge, checklist);
        return {};
      }),
    );
    return [...bindingFailures(subject), ...ofDevices];
  },
  async *facts(subject) {
    const { id, parsed, expect } = subject.vector;
    const { tdx: _tdx, gpu, ...stated } = parsed;
    const options = { failing: expect.failing, table: { ...checks, ...evidenceChecks } };
    yield await membersLine(`${id}#parsed`, stated, () => quoteMembers(subject), options);
    yield await membersLine(`${id}#gpu`, gpu as Members, () => deviceMembers(subject), options);
  },
};

const hex = z.string().regex(/^[0-9a-f]{64}$/);
const documentShape = z.looseObject({
  report_data: z.strictObject({ tls_key_fp: hex, hpke_key: hex, nonce: hex, gpu_evidence_hash: hex }),
  certificate: z.string(),
});

function documentOf(subject: NvidiaCase): z.infer<typeof documentShape> {
  return documentShape.parse(JSON.parse(fromUtf8(fileOf(subject, 'attestation'), 'attestation')));
}

function devicesOf(subject: NvidiaCase): readonly PresentedEvidence[] {
  return presentedDevices(fileOf(subject, 'gpu_json'), 'gpu_json');
}

/** REPORTDATA of a TDX quote of version 4: behind the header and the other members of the TD report. */
const REPORT_DATA = { offset: 568, length: 64 } as const;

function reportDataOf(subject: NvidiaCase): Uint8Array {
  const { offset, length } = REPORT_DATA;
  return fileOf(subject, 'quote').subarray(offset, offset + length);
}

/** The rule of the context: a hash over key, nonce and the very bytes of the GPU's evidence, then zeros. */
function bindingFailures(subject: NvidiaCase): readonly string[] {
  const { report_data: fields, certificate } = documentOf(subject);
  const evidenceHash = sha256(fileOf(subject, 'gpu_json'));
  const nonce = nonceOf(subject);
  const bytes = (name: 'tls_key_fp' | 'hpke_key'): Uint8Array => fromHex(fields[name], name);
  const digest = sha256(concatBytes(bytes('tls_key_fp'), bytes('hpke_key'), nonce, evidenceHash));
  const tlsKey = readCertificate(readPem(toUtf8(firstPem(certificate)), 'CERTIFICATE', 'certificate'), 'tls');
  const holds = {
    report_data: equalBytes(reportDataOf(subject), concatBytes(digest, new Uint8Array(32))),
    report_data_nonce: fields.nonce === toHex(nonce),
    gpu_evidence_hash: fields.gpu_evidence_hash === toHex(evidenceHash),
    tls_key: fields.tls_key_fp === toHex(sha256(tlsKey.subjectPublicKeyInfo)),
  };
  return Object.entries(holds).flatMap(([name, isHeld]) => (isHeld ? [] : [name]));
}

/** The certificate of the server comes with those above it. */
function firstPem(text: string): string {
  const [first = ''] = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/.exec(text) ?? [];
  return first;
}

function quoteMembers(subject: NvidiaCase): Members {
  const quote = fileOf(subject, 'quote');
  return {
    report_data_fields: documentOf(subject).report_data,
    quote_version: (quote[0] ?? 0) | ((quote[1] ?? 0) << 8),
    quote_report_data: toHex(reportDataOf(subject)),
  };
}

/** The manifest states the members of the first GPU. */
function deviceMembers(subject: NvidiaCase): Members {
  const [device] = devicesOf(subject);
  if (device === undefined) return {};
  const report = readDeviceReport(device.report, 'gpu');
  const chain = device.certificates.map((der, i) => readCertificate(der, `chain[${i}]`));
  return {
    ...reportMembers(report, device.report),
    ...gpuMembers(report.fields, familyOf(chain[0])),
    ...chainMembers(chain),
  };
}
