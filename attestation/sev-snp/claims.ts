/** What is true of a guest and its machine after its report was accepted. All of it is JSON: claims are logged. */

import { sha384 } from '@noble/hashes/sha2.js';

import { toHex } from '../core/bytes.ts';
import { keyDigest } from '../core/certificate-path.ts';
import type { DeviceClaims } from '../core/device-class.ts';
import { TrustValue } from '../core/ear/trust-vector.ts';
import type { TrustVector } from '../core/ear/trust-vector.ts';
import type { AuthenticReport } from './authenticate.ts';
import type { KeyKind } from './key-certificate.ts';
import { SIGNED_BYTES } from './layout.ts';
import type { AttestationReport, GuestPolicy, PlatformInfo } from './layout.ts';
import { firmwareText } from './minimum-tcb.ts';
import { cpuidText } from './product.ts';
import type { ProductLine } from './product.ts';
import type { Tcb } from './tcb.ts';

/** Security patch levels; `fmc` is null before Turin. */
export type TcbClaims = {
  /** Of the FMC, which loads the rest since Turin. */
  readonly fmc: number | null;
  /** Of the security processor's boot loader. */
  readonly bootLoader: number;
  /** Of the security processor's operating system. */
  readonly tee: number;
  /** Of the SEV-SNP firmware. */
  readonly snp: number;
  /** Of the cores' microcode. */
  readonly microcode: number;
};

/** What a report and its certificates say, whoever asked for it. */
export interface SevSnpReportClaims {
  /** 32 bytes in hex that name the machine; see identity.ts. */
  readonly identity: string;
  /** Whether the hardware is simulated: follows from the anchor alone (W9). */
  readonly simulated: boolean;
  /** Name of the root that vouches for the machine. */
  readonly anchor: string;
  /** AMD’s name for the processor. */
  readonly productLine: ProductLine;
  /** Family, model and stepping in hex; null in version 2. */
  readonly processor: string | null;
  /** VERSION of the report. */
  readonly reportVersion: number;
  /** Whether the chip’s key signed, or one that AMD gave to a provider. */
  readonly signingKey: KeyKind;
  /** SHA-256 of the signing key's SubjectPublicKeyInfo, hex. */
  readonly signingKeyDigest: string;
  /** SHA-384 of the signed bytes, hex. The signature can be rewritten, so that a digest of the whole names nothing. */
  readonly reportDigest: string;
  /** Chip in hex; null where a provider's key signed. */
  readonly hardwareId: string | null;
  /** Whether the host hides the chip’s identifier from guests. */
  readonly chipMasked: boolean;
  /** Provider; null where a chip's key signed. */
  readonly cspId: string | null;
  /** REPORT_DATA, hex: what the report was made for. */
  readonly reportData: string;
  /** Privilege level of the software that asked for the report; 0 is the highest. */
  readonly vmpl: number;
  /** Launch measurement, hex. */
  readonly measurement: string;
  /** Name of the reference value that the measurement matches. */
  readonly referenceValues: string;
  /** Security version of the guest, from its ID block. */
  readonly guestSvn: number;
  /** From the ID block, hex; zero without one. */
  readonly familyId: string;
  /** From the ID block, hex; zero without one. */
  readonly imageId: string;
  /** SHA-384 of the key that signed the ID block, hex; zero without one. */
  readonly idKeyDigest: string;
  /** SHA-384 of the key that signed that key, hex; zero without one. */
  readonly authorKeyDigest: string;
  /** What the host stated at the launch, hex. */
  readonly hostData: string;
  /** REPORT_ID, hex: names the guest from launch to end. */
  readonly reportId: string;
  /** REPORT_ID of the migration agent in hex; null without one. */
  readonly migrationAgent: string | null;
  /** What the owner of the guest demanded of the host at the launch. */
  readonly guestPolicy: Omit<GuestPolicy, 'unknownBits' | 'reserved17'>;
  /** Unnamed bits stand in their places in `unknownBits`, hex. */
  readonly platformInfo: Omit<PlatformInfo, 'unknownBits'> & {
    /** Bits without a public name, in their places, hex. */
    readonly unknownBits: string;
  };
  /** Levels of the firmware’s parts. */
  readonly tcb: {
    /** The one whose key signed. */
    readonly reported: TcbClaims;
    /** Below which there is no way back. */
    readonly committed: TcbClaims;
    /** When the guest was launched. */
    readonly launch: TcbClaims;
    /** Running now. */
    readonly current: TcbClaims;
  };
  /** Version and build of AMD’s firmware. */
  readonly firmware: {
    /** Below which there is no way back. */
    readonly committed: string;
    /** Running now. */
    readonly current: string;
  };
  /** Bit vectors in hex; null before version 5. */
  readonly mitigations: {
    /** When the guest was launched. */
    readonly launch: string;
    /** Now. */
    readonly current: string;
  } | null;
  /** Sets of minimum TCBs that the policy demanded. */
  readonly minimumTcbSets: readonly string[];
  /** The list by which the authorities were judged; null when there was none. */
  readonly revocationList: {
    /** Its running number. */
    readonly number: number;
    /** When it was made, POSIX seconds. */
    readonly thisUpdate: number;
  } | null;
}

/** Claims of the device class. */
export interface SevSnpClaims extends SevSnpReportClaims, DeviceClaims {
  /** Name of the device class. */
  readonly class: 'sev-snp';
  /** The lab that sent the evidence; where the policy demands enrolment, the one that the machine belongs to. */
  readonly lab: string;
}

/** What appraisal found out besides. */
export interface AppraisalResult {
  /** Name of the launch reference; empty if none matched, in which case the verdict is no. */
  readonly launch: string;
  readonly minimumTcbSets: readonly string[];
}

export function reportClaims(
  authentic: AuthenticReport,
  bytes: Uint8Array,
  { launch, minimumTcbSets }: AppraisalResult,
): SevSnpReportClaims {
  const { report, chain, tcb } = authentic;
  return {
    ...machineClaims(authentic),
    reportVersion: report.version,
    signingKeyDigest: toHex(keyDigest(chain.key.certificate)),
    reportDigest: toHex(sha384(bytes.subarray(0, SIGNED_BYTES))),
    ...guestClaims(report),
    referenceValues: launch,
    tcb: {
      reported: tcbClaims(tcb.reported),
      committed: tcbClaims(tcb.committed),
      launch: tcbClaims(tcb.launch),
      current: tcbClaims(tcb.current),
    },
    firmware: {
      committed: firmwareText(report.committedVersion),
      current: firmwareText(report.currentVersion),
    },
    mitigations: report.mitigations
      ? { launch: bitsText(report.mitigations.launch), current: bitsText(report.mitigations.current) }
      : null,
    minimumTcbSets,
    revocationList: authentic.revocation ?? null,
  };
}

function machineClaims({ report, chain, identity, isChipMasked }: AuthenticReport) {
  const { key, anchor } = chain;
  return {
    identity: toHex(identity),
    simulated: anchor.simulated,
    anchor: anchor.name,
    productLine: key.line,
    processor: report.cpuid ? cpuidText(report.cpuid) : null,
    signingKey: key.kind,
    hardwareId: key.kind === 'vcek' ? toHex(key.hardwareId) : null,
    chipMasked: isChipMasked,
    cspId: key.kind === 'vlek' ? key.cspId : null,
  };
}

function guestClaims(report: AttestationReport) {
  const { unknownBits: _, reserved17: __, ...guestPolicy } = report.policy;
  const { unknownBits, ...platformInfo } = report.platformInfo;
  const hasAgent = report.reportIdMa.some((byte) => byte !== 0xff);
  return {
    reportData: toHex(report.reportData),
    vmpl: report.vmpl,
    measurement: toHex(report.measurement),
    guestSvn: report.guestSvn,
    familyId: toHex(report.familyId),
    imageId: toHex(report.imageId),
    idKeyDigest: toHex(report.idKeyDigest),
    authorKeyDigest: toHex(report.authorKeyDigest),
    hostData: toHex(report.hostData),
    reportId: toHex(report.reportId),
    migrationAgent: hasAgent ? toHex(report.reportIdMa) : null,
    guestPolicy,
    platformInfo: { ...platformInfo, unknownBits: bitsText(unknownBits) },
  };
}

function tcbClaims({ fmc, bootLoader, tee, snp, microcode }: Tcb): TcbClaims {
  return { fmc: fmc ?? null, bootLoader, tee, snp, microcode };
}

function bitsText(bits: bigint): string {
  return bits.toString(16).padStart(16, '0');
}

/** What every accepted guest is worth: its policy, its launch and its platform passed what the appraisal policy demands. */
export const sevSnpTrustVector: TrustVector = {
  'instance-identity': TrustValue.trustworthyInstance,
  configuration: TrustValue.approvedConfiguration,
  executables: TrustValue.approvedBoot,
  hardware: TrustValue.genuineHardware,
  'runtime-opaque': TrustValue.encryptedMemory,
};
