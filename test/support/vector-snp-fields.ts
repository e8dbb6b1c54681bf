/** What the readers of this project make of a report and its certificate, in the words of the manifest. */

import { createHash } from 'node:crypto';
import { isDeepStrictEqual } from 'node:util';

import { toHex } from '../../attestation/core/bytes.ts';
import { NameAttribute, nameAttributes } from '../../attestation/core/distinguished-name.ts';
import { readKeyCertificate } from '../../attestation/sev-snp/key-certificate.ts';
import { readReport, SigningKey } from '../../attestation/sev-snp/layout.ts';
import type { AttestationReport, FirmwareVersion } from '../../attestation/sev-snp/layout.ts';
import { readTcb } from '../../attestation/sev-snp/tcb.ts';
import type { TcbEncoding } from '../../attestation/sev-snp/tcb.ts';

type Fields = Readonly<Record<string, unknown>>;

/** Names of the members in which the two differ, those that only one of the two has among them. */
export function differingMembers(expected: Fields, found: Fields): readonly string[] {
  const names = new Set([...Object.keys(expected), ...Object.keys(found)]);
  return [...names].filter((name) => !isDeepStrictEqual(expected[name], found[name]));
}

/** @throws RefusalError */
export function reportFields(bytes: Uint8Array, encoding: TcbEncoding): Fields {
  const report = readReport(bytes);
  const { version, cpuid, mitigations, signature } = report;
  return {
    version,
    ...guestFields(report, bytes),
    ...platformFields(report, bytes),
    current_tcb: tcbFields(report.currentTcb, encoding),
    reported_tcb: tcbFields(report.reportedTcb, encoding),
    committed_tcb: tcbFields(report.committedTcb, encoding),
    launch_tcb: tcbFields(report.launchTcb, encoding),
    ...(cpuid && { cpuid: { family: cpuid.family, model: cpuid.model, stepping: cpuid.stepping } }),
    ...(mitigations && {
      launch_mit_vector: `0x${mitigations.launch.toString(16)}`,
      current_mit_vector: `0x${mitigations.current.toString(16)}`,
    }),
    // A report with any of its reserved bytes set is not read at all.
    reserved_all_zero: true,
    signature_r_le48: toHex(signature.r),
    signature_s_le48: toHex(signature.s),
  };
}

function guestFields(report: AttestationReport, bytes: Uint8Array): Fields {
  const { policy } = report;
  return {
    guest_svn: report.guestSvn,
    policy: {
      hex: hexAt(bytes, 8, 8),
      abi_minor: policy.abiMinor,
      abi_major: policy.abiMajor,
      smt_allowed: policy.smtAllowed,
      reserved17: Number(policy.reserved17),
      migrate_ma: policy.migrateMa,
      debug: policy.debug,
      single_socket: policy.singleSocket,
      cxl_allow: policy.cxlAllow,
      mem_aes_256_xts: policy.memAes256Xts,
      rapl_dis: policy.raplDis,
      ciphertext_hiding_dram: policy.ciphertextHidingDram,
      page_swap_disable: policy.pageSwapDisable,
    },
    family_id: toHex(report.familyId),
    image_id: toHex(report.imageId),
    vmpl: report.vmpl,
    report_data: toHex(report.reportData),
    measurement: toHex(report.measurement),
    host_data: toHex(report.hostData),
    id_key_digest: toHex(report.idKeyDigest),
    author_key_digest: toHex(report.authorKeyDigest),
    report_id: toHex(report.reportId),
    report_id_ma: toHex(report.reportIdMa),
  };
}

const SIGNING_KEYS: ReadonlyMap<number, string> = new Map(
  Object.entries(SigningKey).map(([name, value]) => [value, name]),
);

function platformFields(report: AttestationReport, bytes: Uint8Array): Fields {
  const { platformInfo, keyInfo } = report;
  return {
    signature_algo: report.signatureAlgo,
    platform_info: {
      hex: hexAt(bytes, 0x40, 8),
      smt_en: platformInfo.smtEn,
      tsme_en: platformInfo.tsmeEn,
      ecc_en: platformInfo.eccEn,
      rapl_dis: platformInfo.raplDis,
      ciphertext_hiding_dram_en: platformInfo.ciphertextHidingDramEn,
      alias_check_complete: platformInfo.aliasCheckComplete,
      bit6: (platformInfo.unknownBits & 0x40n) !== 0n,
      tio_en: platformInfo.tioEn,
    },
    key_info: {
      hex: hexAt(bytes, 0x48, 4),
      author_key_en: keyInfo.authorKeyEn,
      mask_chip_key: keyInfo.maskChipKey,
      signing_key: SIGNING_KEYS.get(keyInfo.signingKey),
    },
    chip_id: toHex(report.chipId),
    current_version: versionText(report.currentVersion),
    committed_version: versionText(report.committedVersion),
  };
}

function hexAt(bytes: Uint8Array, at: number, length: number): string {
  const bigEndian = toHex(bytes.slice(at, at + length).reverse());
  return `0x${BigInt(`0x${bigEndian}`).toString(16)}`;
}

function versionText({ major, minor, build }: FirmwareVersion): string {
  return `${major}.${minor}.${build}`;
}

/** Reserved bytes that are not zero are refused, so that only their number is left to say. */
function tcbFields(bytes: Uint8Array, encoding: TcbEncoding): Fields {
  const { fmc, bootLoader, tee, snp, microcode } = readTcb(encoding, bytes, 'tcb');
  return {
    raw_le_hex: toHex(bytes),
    ...(fmc !== undefined && { fmc }),
    bootloader: bootLoader,
    tee,
    snp,
    microcode,
    reserved: encoding === 'turin' ? '000000' : '00000000',
  };
}

/** @throws RefusalError */
export function certificateFields(bytes: Uint8Array): Fields {
  const facts = readKeyCertificate(bytes, 'certificate');
  const { certificate, encoding, tcb } = facts;
  const isTurin = encoding === 'turin';
  return {
    subject_cn: commonName(certificate.subject),
    issuer_cn: commonName(certificate.issuer),
    serial: `0x${BigInt(`0x${toHex(certificate.serialNumber)}`).toString(16)}`,
    not_before: timeText(certificate.notBefore),
    not_after: timeText(certificate.notAfter),
    sha256: sha256Hex(bytes),
    spki_sha256: sha256Hex(certificate.subjectPublicKeyInfo),
    struct_version: isTurin ? 1 : 0,
    product_name: facts.productName,
    bl_spl: tcb.bootLoader,
    tee_spl: tcb.tee,
    snp_spl: tcb.snp,
    ucode_spl: tcb.microcode,
    ...(isTurin && { fmc_spl: tcb.fmc }),
    // Those that are there are zero, or the certificate is not read.
    spl_4: isTurin ? null : 0,
    spl_5: 0,
    spl_6: 0,
    spl_7: 0,
    ...(facts.kind === 'vcek' ? { hwid: toHex(facts.hardwareId) } : { csp_id: facts.cspId }),
  };
}

function commonName(name: Uint8Array): string | undefined {
  return nameAttributes(name, 'name').get(NameAttribute.commonName);
}

function timeText(posixSeconds: number): string {
  return new Date(posixSeconds * 1000).toISOString().replace('.000Z', 'Z');
}

function sha256Hex(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}
