/**
 * A simulated SEV-SNP guest in a folder: the key of its chip, the certificates that a host would put beside a report,
 * and a report that lacks only REPORT_DATA and signature (docs/spec/sev-snp-agent.md, section 5). Whoever has the folder can
 * sign anything, as nobody can on real hardware.
 */

import { createPrivateKey, generateKeyPair, randomBytes, sign, type KeyObject } from 'node:crypto';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';

import { z } from 'zod';

import { concatBytes, fromBase64, toBase64 } from '../../../attestation/core/bytes.ts';
import { encodeCanonicalJson } from '../../../attestation/core/canonical-json.ts';
import { CertificateGuid, writeCertificateTable } from '../../../attestation/sev-snp/certificate-table.ts';
import {
  readReport,
  SIGNED_BYTES,
  SigningKey,
  writeReport,
  type AttestationReport,
  type Cpuid,
  type GuestPolicy,
  type PlatformInfo,
} from '../../../attestation/sev-snp/layout.ts';
import { tcbEncodingOf, writeTcb, type Tcb } from '../../../attestation/sev-snp/tcb.ts';
import type { SevGuest, SevGuestReport } from '../../../native/sev-guest/guest.ts';
import { readCanonicalFile } from '../../platform/canonical-file.ts';
import { writeFileDurably } from '../../platform/files.ts';
import { readShape } from '../../platform/shape.ts';
import { publicKeyOf } from './certificate-parts.ts';
import type { SimulatedAmd } from './sev-snp-authority.ts';

const MACHINE_FILE = 'sev-snp-guest.json';
const MAX_MACHINE_BYTES = 64 * 1024;

const machineSchema = z.strictObject({
  version: z.literal(1),
  /** PKCS #8: VCEK or VLEK. */
  chipKey: z.string(),
  certificateTable: z.string(),
  /** A report whose REPORT_DATA and signature do not count. */
  template: z.string(),
});

/** The chip and what runs on it. */
export interface SimulatedMachine {
  /** 64 bytes, for Turin 8 and zeros; random if it is not given. */
  readonly chipId?: Uint8Array;
  readonly cpuid?: Cpuid;
  /** All levels of the report, and the one that the key is derived from. */
  readonly tcb?: Tcb;
  /** Signs with the key of this cloud provider (csp_id) in place of the chip's. */
  readonly provider?: string;
  /** Leaves the certificates out, as hosts do that provision none. */
  readonly withoutCertificates?: boolean;
  /** Any member of the report. */
  readonly report?: Partial<AttestationReport>;
}

/** Processors of each line: an ordinary one, with levels that pass the shipped minima. */
const PROCESSORS = {
  Milan: { cpuid: { family: 0x19, model: 0x01, stepping: 0x01 }, tcb: levels(undefined, 4, 0, 0x1b, 0xde) },
  Genoa: { cpuid: { family: 0x19, model: 0x11, stepping: 0x01 }, tcb: levels(undefined, 10, 0, 0x1c, 0x58) },
  Turin: { cpuid: { family: 0x1a, model: 0x02, stepping: 0x01 }, tcb: levels(1, 1, 1, 4, 0x52) },
} as const;

function levels(
  fmc: number | undefined,
  bootLoader: number,
  tee: number,
  snp: number,
  microcode: number,
): Tcb {
  return { fmc, bootLoader, tee, snp, microcode };
}

const FIRMWARE = { major: 1, minor: 55, build: 70 };

const GUEST_POLICY: GuestPolicy = {
  abiMinor: 0,
  abiMajor: 0,
  smtAllowed: true,
  reserved17: true,
  migrateMa: false,
  debug: false,
  singleSocket: false,
  cxlAllow: false,
  memAes256Xts: false,
  raplDis: false,
  ciphertextHidingDram: false,
  pageSwapDisable: false,
  unknownBits: 0n,
};

const PLATFORM_INFO: PlatformInfo = {
  smtEn: true,
  tsmeEn: true,
  eccEn: true,
  raplDis: false,
  ciphertextHidingDramEn: false,
  aliasCheckComplete: true,
  tioEn: false,
  unknownBits: 0n,
};

const generate = promisify(generateKeyPair);

/**
 * Makes a guest on a new chip, or on another level of firmware of the same chip where `chipId` is given.
 *
 * @param folder is made if it is not there; a guest that lies there already is replaced
 * @throws RefusalError `file-*`, `layout-value`
 */
export async function manufactureSimulatedGuest(
  folder: string,
  amd: SimulatedAmd,
  machine: SimulatedMachine = {},
): Promise<void> {
  const { privateKey } = await generate('ec', { namedCurve: 'P-384' });
  const report = templateOf(amd, machine);
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const document = {
    version: 1,
    chipKey: toBase64(privateKey.export({ type: 'pkcs8', format: 'der' })),
    certificateTable: toBase64(tableOf(amd, machine, report, privateKey)),
    template: toBase64(writeReport(report)),
  };
  await writeFileDurably(join(folder, MACHINE_FILE), encodeCanonicalJson(document), 0o600);
}

/** The report of an ordinary guest: one level of firmware everywhere, nothing allowed that need not be. */
function templateOf(amd: SimulatedAmd, machine: SimulatedMachine): AttestationReport {
  const { cpuid, tcb } = { ...PROCESSORS[amd.line], ...machine };
  const encodedTcb = writeTcb(tcbEncodingOf(amd.line), tcb);
  const isProvider = machine.provider !== undefined;
  return {
    version: 5,
    guestSvn: 0,
    policy: GUEST_POLICY,
    familyId: new Uint8Array(16),
    imageId: new Uint8Array(16),
    vmpl: 0,
    signatureAlgo: 1,
    currentTcb: encodedTcb,
    platformInfo: PLATFORM_INFO,
    keyInfo: {
      authorKeyEn: false,
      maskChipKey: false,
      signingKey: isProvider ? SigningKey.vlek : SigningKey.vcek,
    },
    reportData: new Uint8Array(64),
    measurement: new Uint8Array(48),
    hostData: new Uint8Array(32),
    idKeyDigest: new Uint8Array(48),
    authorKeyDigest: new Uint8Array(48),
    reportId: randomBytes(32),
    reportIdMa: new Uint8Array(32).fill(0xff),
    reportedTcb: encodedTcb,
    cpuid,
    chipId: isProvider ? new Uint8Array(64) : chipIdOf(amd, machine),
    committedTcb: encodedTcb,
    currentVersion: FIRMWARE,
    committedVersion: FIRMWARE,
    launchTcb: encodedTcb,
    mitigations: { launch: 0n, current: 0n },
    signature: { r: new Uint8Array(48), s: new Uint8Array(48) },
    ...machine.report,
  };
}

function chipIdOf(amd: SimulatedAmd, { chipId }: SimulatedMachine): Uint8Array {
  if (chipId !== undefined) return chipId;
  return amd.line === 'Turin' ? concatBytes(randomBytes(8), new Uint8Array(56)) : randomBytes(64);
}

function tableOf(
  amd: SimulatedAmd,
  machine: SimulatedMachine,
  { chipId }: AttestationReport,
  privateKey: KeyObject,
): Uint8Array {
  if (machine.withoutCertificates === true) return new Uint8Array();
  const { tcb } = { ...PROCESSORS[amd.line], ...machine };
  const key = { tcb, publicKey: publicKeyOf(privateKey) };
  const { provider } = machine;
  const [kind, certificate] =
    provider === undefined
      ? (['vcek', amd.certifyChip(key, amd.line === 'Turin' ? chipId.subarray(0, 8) : chipId)] as const)
      : (['vlek', amd.certifyProvider(key, provider)] as const);
  return writeCertificateTable([
    { guid: CertificateGuid.ark, content: amd.root },
    { guid: CertificateGuid.intermediate, content: amd.intermediate(kind) },
    { guid: CertificateGuid[kind], content: certificate },
  ]);
}

/** A guest whose folder was made by {@link manufactureSimulatedGuest}. */
export class SimulatedSevGuest implements SevGuest {
  readonly address: string;
  /** What it reports, less REPORT_DATA and signature. */
  readonly template: AttestationReport;
  private readonly key: KeyObject;
  private readonly certificateTable: Uint8Array;

  private constructor(
    address: string,
    key: KeyObject,
    certificateTable: Uint8Array,
    template: AttestationReport,
  ) {
    this.address = address;
    this.key = key;
    this.certificateTable = certificateTable;
    this.template = template;
  }

  /** @throws RefusalError `file-*`, `json-*`, `shape-mismatch`, `base64-malformed`, `layout-*` */
  static async open(folder: string): Promise<SimulatedSevGuest> {
    const path = join(folder, MACHINE_FILE);
    const saved = readShape(machineSchema, await readCanonicalFile(path, MAX_MACHINE_BYTES), path);
    const key = createPrivateKey({ key: Buffer.from(saved.chipKey, 'base64'), type: 'pkcs8', format: 'der' });
    const template = readReport(fromBase64(saved.template, 'template'), 'template');
    const certificateTable = fromBase64(saved.certificateTable, 'certificateTable');
    return new SimulatedSevGuest(`simulated:${folder}`, key, certificateTable, template);
  }

  report(reportData: Uint8Array): Promise<SevGuestReport> {
    const unsigned = writeReport({ ...this.template, reportData });
    const signed = sign('sha384', unsigned.subarray(0, SIGNED_BYTES), {
      key: this.key,
      dsaEncoding: 'ieee-p1363',
    });
    const little = (part: Uint8Array): Uint8Array => Uint8Array.from(part).reverse();
    const signature = { r: little(signed.subarray(0, 48)), s: little(signed.subarray(48)) };
    const report = writeReport({ ...this.template, reportData, signature });
    return Promise.resolve({ report, certificateTable: this.certificateTable });
  }
}
