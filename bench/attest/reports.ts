/** What is verified: reports of one simulated guest, each over another value, as many servers get them in a row. */

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { randomBytes } from 'node:crypto';

import { sha256 } from '@noble/hashes/sha2.js';

import { toHex } from '../../attestation/core/bytes.ts';
import type { JsonValue } from '../../attestation/core/canonical-json.ts';
import { readCertificate } from '../../attestation/core/x509.ts';
import { collateralNames } from '../../attestation/sev-snp/chain.ts';
import { certificatesOfTable } from '../../attestation/sev-snp/evidence.ts';
import { readReport, SIGNED_BYTES } from '../../attestation/sev-snp/layout.ts';
import type { ReportQuestion } from '../../attestation/sev-snp/verify.ts';
import { SimulatedAmd } from '../../src/agent/simulated/sev-snp-authority.ts';
import { manufactureSimulatedGuest, SimulatedSevGuest } from '../../src/agent/simulated/sev-snp-guest.ts';
import {
  makeBenchGpu,
  makeGpuSubject,
  makeMachineSubject,
  type GpuSubject,
  type MachineSubject,
} from './machines.ts';

/** A signature as node:crypto takes it, over the same bytes. */
export interface RawSignature {
  /** SubjectPublicKeyInfo, DER. */
  readonly publicKey: Uint8Array;
  readonly message: Uint8Array;
  /** r and s, big-endian. */
  readonly signature: Uint8Array;
}

export type Question = ReportQuestion & { readonly expectedReportData: Uint8Array };

export interface Subject {
  readonly questions: readonly Question[];
  readonly signatures: readonly RawSignature[];
  readonly gpu: GpuSubject;
  readonly machine: MachineSubject;
}

const REPORTS = 64;

/** Makes hierarchies, a guest and a GPU, which takes seconds, and asks them for reports. */
export async function makeSubject(): Promise<Subject> {
  const time = Math.floor(Date.now() / 1000);
  const amd = await SimulatedAmd.create('Genoa', time);
  const folder = await mkdtemp(join(tmpdir(), 'weightgate-bench-'));
  try {
    await manufactureSimulatedGuest(folder, amd);
    const guest = await SimulatedSevGuest.open(folder);
    const questions = await Promise.all(Array.from({ length: REPORTS }, () => ask(amd, guest, time)));
    const gpu = await makeBenchGpu(time);
    return {
      questions,
      signatures: questions.map(rawSignature),
      gpu: await makeGpuSubject(gpu, time),
      machine: await makeMachineSubject(gpu, await ask(amd, guest, time), folder),
    };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function ask(amd: SimulatedAmd, guest: SimulatedSevGuest, time: number): Promise<Question> {
  const expectedReportData = new Uint8Array(randomBytes(64));
  const { report, certificateTable } = await guest.report(expectedReportData);
  const root = readCertificate(amd.root, 'root').subjectPublicKeyInfo;
  return {
    report,
    certificates: certificatesOfTable(certificateTable, 'certificateTable'),
    anchors: [{ name: 'simulated', publicKeyDigest: sha256(root), simulated: true }],
    collateral: new Map([[collateralNames.revocationList(amd.line), amd.revocationList()]]),
    time,
    expectedReportData,
    policy: POLICY,
    referenceValues: [LAUNCH],
  };
}

function rawSignature({ report, certificates }: Question): RawSignature {
  const { signature } = readReport(report);
  const certificate = readCertificate(certificates.vcek ?? new Uint8Array(), 'certificate');
  return {
    publicKey: certificate.subjectPublicKeyInfo,
    message: report.slice(0, SIGNED_BYTES),
    signature: Uint8Array.from([...signature.r.toReversed(), ...signature.s.toReversed()]),
  };
}

const ZEROS = toHex(new Uint8Array(48));

/** As strict as an operator's: the work of judging is part of what is measured. */
const POLICY: JsonValue = {
  version: 1,
  class: 'sev-snp',
  reportVersions: [3, 5],
  signingKeys: ['vcek'],
  productLines: ['Genoa'],
  vmpls: [0],
  minimumTcb: {
    sets: [],
    processors: [
      {
        processor: '19-11-01',
        tcb: { fmc: null, bootLoader: 1, tee: 0, snp: 1, microcode: 1 },
        firmware: '1.55.0',
      },
    ],
  },
  allowProvisionalFirmware: false,
  guestPolicy: { minimumAbi: { major: 0, minor: 0 }, required: [], forbidden: ['cxlAllow'] },
  platformInfo: {
    required: ['aliasCheckComplete'],
    forbidden: ['tioEn'],
    toleratedUnknownBits: '0000000000000040',
  },
  minimumGuestSvn: 0,
  familyIds: 'any',
  imageIds: 'any',
  idKeyDigests: [ZEROS],
  authorKeyDigests: [ZEROS],
  hostData: [ZEROS.slice(32)],
  mitigations: { launch: '0000000000000000', current: '0000000000000000' },
  migrationAgents: [],
  chips: { allowed: 'any', denied: [], allowMasked: false },
  cspIds: [],
  revocation: {
    missingList: 'refuse',
    maxAgeSeconds: 90 * 86_400,
    minimumNumbers: { Milan: 0, Genoa: 1, Turin: 0 },
  },
  enrolment: 'not-required',
};

const LAUNCH: JsonValue = {
  version: 1,
  class: 'sev-snp',
  kind: 'launch',
  name: 'simulated',
  measurement: ZEROS,
  provenance: {
    method: 'recorded',
    tool: 'bench',
    toolVersion: '1',
    artefacts: [],
    parameters: {},
    madeAt: 0,
  },
};
