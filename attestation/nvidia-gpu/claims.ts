/** What is true of a GPU or switch after its report was judged. All of it is JSON: claims are logged. */

import { sha384 } from '@noble/hashes/sha2.js';

import { toHex } from '../core/bytes.ts';
import type { DeviceClaims } from '../core/device-class.ts';
import { TrustValue } from '../core/ear/trust-vector.ts';
import type { TrustVector } from '../core/ear/trust-vector.ts';
import type { AuthenticReport } from './authenticate.ts';
import { modeOf } from './mode.ts';
import type { GpuMode } from './mode.ts';
import type { KnownStatus } from './ocsp/appraise.ts';
import type { RemoteResultClaims } from './remote-result.ts';
import type { GpuReport, SwitchReport } from './report.ts';
import type { RimRole } from './rim/compare.ts';
import { signedBytes } from './spdm.ts';

/** What report and certificates of any device say, whoever asked for the report. */
interface CommonReportClaims {
  /** 32 bytes in hex that name the device; see identity.ts. */
  readonly identity: string;
  /** Whether the hardware is simulated: follows from anchors alone (W9). */
  readonly simulated: boolean;
  /**
   * How it is known that the device is on this machine's bus: by the word of the measured guest that collected the
   * evidence. Nothing that the device signs says it.
   */
  readonly attachment: 'software-asserted';
  /** Name of the root that vouches for the device. */
  readonly anchor: string;
  /** As in `GH100`. */
  readonly chip: string;
  /** As in `A01`. */
  readonly stepping: string;
  /** The device's number on NVLink, 8 bytes in hex. */
  readonly pdi: string;
  /** Version of the firmware in its flash memory, as NVIDIA writes it. */
  readonly vbiosVersion: string;
  /** SHA-384 of the firmware whose key signed, hex. */
  readonly fwid: string;
  /** Of the leaf certificate, hex; NVIDIA's tokens call it ueid. It changes with the firmware. */
  readonly leafSerialNumber: string;
  /** What the report was made for, 32 bytes in hex. */
  readonly nonce: string;
  /** SHA-384 of the signed bytes, hex. The signature can be rewritten, so that a digest of the whole names nothing. */
  readonly reportDigest: string;
}

interface BoardClaims {
  /** Of the board's design. */
  readonly project: string;
  /** Of its variant. */
  readonly projectSku: string;
  /** Of the chip's variant. */
  readonly chipSku: string;
}

export interface GpuReportClaims extends CommonReportClaims {
  /** Name of the device class. */
  readonly class: 'nvidia-gpu';
  /** Version of the driver that set the GPU up, as the GPU reports it. */
  readonly driverVersion: string;
  /** How it is protected: alone in a guest (`spt`), one of several (`mpt`), or behind switches (`ppcie`). */
  readonly mode: GpuMode;
  /** Whether the report itself names the mode. */
  readonly modeStated: boolean;
  /** Whether the report repeats the firmware's digest; some old drivers do not. */
  readonly fwidReported: boolean;
  /** NVIDIA's numbers of the board; they are part of the names of manifests. */
  readonly board: BoardClaims;
  /** Whether the video decoder is enabled. */
  readonly nvdec0: 'enabled' | 'disabled';
  /** Numbers of the switches at its NVLinks, each once, ascending; empty where the report has none. */
  readonly switchPdis: readonly string[];
}

export interface SwitchReportClaims extends CommonReportClaims {
  /** Name of the device class. */
  readonly class: 'nvswitch';
  /** Whether its configuration cannot be changed any more until it is reset. */
  readonly locked: boolean;
  /** Its place on the board. */
  readonly positionId: number;
  /** Its own number as the report has it, which must be that of the certificate. */
  readonly reportedPdi: string;
  /** Numbers of the GPUs at its ports, each once, ascending. */
  readonly gpuPdis: readonly string[];
}

export type ReportClaims = GpuReportClaims | SwitchReportClaims;

/** A manifest that the device was compared with. */
export interface ManifestClaims {
  /** What of the device it describes. */
  readonly role: RimRole;
  /** Of the software that it describes. */
  readonly version: string;
  /** SHA-384 of the canonical content, hex. */
  readonly contentDigest: string;
  /** From when the certificate of its signer is valid, POSIX seconds: about when it was made. */
  readonly signerNotBefore: number;
  /** Until when, POSIX seconds. */
  readonly signerNotAfter: number;
  /** Name of the root that vouches for the signer. */
  readonly anchor: string;
}

/** When it was last known that a certificate of the device's chain is good. Times are POSIX seconds. */
export interface RevocationClaims {
  /** Which certificate, by its place above the report's key. */
  readonly certificate: 'brom' | 'provisioner' | 'identity';
  /** When the responder knew it. */
  readonly thisUpdate: number;
  /** When it will know anew. */
  readonly nextUpdate: number;
}

/** What became of each measurement, by its index. */
interface MeasurementClaims {
  /** Equal to a value of a manifest. */
  readonly compared: readonly number[];
  /** Of a part that is switched off, which the policy lets pass. */
  readonly skipped: readonly number[];
  /** In no manifest, which the policy lets pass by name. */
  readonly uncovered: readonly number[];
}

/** What appraisal found out. */
export interface AppraisalClaims {
  /** The manifests that its measurements were compared with. */
  readonly manifests: readonly ManifestClaims[];
  /** Measurements by their index in manifests. */
  readonly measurements: MeasurementClaims;
  /** Sets of minimum versions that the policy demanded. */
  readonly minimumVersionSets: readonly string[];
  /** What its issuers say of the certificates of its chain. */
  readonly revocation: readonly RevocationClaims[];
  /** What NVIDIA's remote service said besides; null where the policy demands nothing of it. */
  readonly remoteResult: RemoteResultClaims | null;
}

interface ClassClaims extends DeviceClaims, AppraisalClaims {
  /** The lab that sent the evidence. */
  readonly lab: string;
}
/** Claims of the device class `nvidia-gpu`. */
export interface GpuClaims extends Omit<GpuReportClaims, keyof DeviceClaims>, ClassClaims {
  /** Name of the device class. */
  readonly class: 'nvidia-gpu';
}
/** Claims of the device class `nvswitch`. */
export interface SwitchClaims extends Omit<SwitchReportClaims, keyof DeviceClaims>, ClassClaims {
  /** Name of the device class. */
  readonly class: 'nvswitch';
}

export function reportClaims(authentic: AuthenticReport<GpuReport>): GpuReportClaims;
export function reportClaims(authentic: AuthenticReport<SwitchReport>): SwitchReportClaims;
export function reportClaims(authentic: AuthenticReport): ReportClaims;
export function reportClaims(authentic: AuthenticReport): ReportClaims {
  const { report } = authentic;
  const common = commonClaims(authentic);
  if (report.kind === 'switch') {
    const { pdi, lockStatus, positionId, gpuPdis } = report.fields;
    return {
      class: 'nvswitch',
      ...common,
      locked: lockStatus === LOCKED,
      positionId,
      reportedPdi: toHex(pdi),
      gpuPdis: usedPdis(gpuPdis),
    };
  }
  const { fields } = report;
  const { mode, isStated } = modeOf(fields);
  const { project, projectSku, chipSku } = fields;
  return {
    class: 'nvidia-gpu',
    ...common,
    driverVersion: fields.driverVersion,
    mode,
    modeStated: isStated,
    fwidReported: fields.fwid !== undefined,
    board: { project, projectSku, chipSku },
    nvdec0: fields.nvdec0Status,
    switchPdis: usedPdis(fields.switchPdis ?? []),
  };
}

/** LOCK_STATUS of a switch whose configuration cannot be changed any more. */
const LOCKED = 1;

function commonClaims({ report, chain, chip, fwid, identity }: AuthenticReport): CommonReportClaims {
  const { leaf, bootRom, anchor } = chain;
  return {
    identity: toHex(identity),
    simulated: anchor.simulated,
    attachment: 'software-asserted',
    anchor: anchor.name,
    chip,
    stepping: leaf.stepping,
    pdi: toHex(bootRom.pdi),
    vbiosVersion: report.fields.vbiosVersion,
    fwid: toHex(fwid),
    leafSerialNumber: leaf.serialNumber,
    nonce: toHex(report.message.request.nonce),
    reportDigest: toHex(sha384(signedBytes(report.bytes))),
  };
}

/** A link or port without a peer has zeros. */
function usedPdis(pdis: readonly Uint8Array[]): readonly string[] {
  const used = pdis.filter((pdi) => pdi.some((byte) => byte !== 0));
  return [...new Set(used.map(toHex))].toSorted();
}

const CERTIFICATE_NAMES = ['brom', 'provisioner', 'identity'] as const;

/** @param known of certificates 1 to 3 */
export function revocationClaims(known: readonly KnownStatus[]): readonly RevocationClaims[] {
  return known.flatMap((status, i) => {
    const certificate = CERTIFICATE_NAMES[i];
    if (certificate === undefined || status.status === 'missing') return [];
    return { certificate, thisUpdate: status.thisUpdate, nextUpdate: status.nextUpdate };
  });
}

const PROTECTED_GPU: TrustVector = {
  'instance-identity': TrustValue.trustworthyInstance,
  configuration: TrustValue.approvedConfiguration,
  executables: TrustValue.approvedBoot,
  hardware: TrustValue.genuineHardware,
};

/**
 * Nothing is said of the GPU's memory: it is closed to the host and not encrypted, for which AR4SI has no word. In
 * protected-PCIe mode the links between GPUs are plain text, within reach of whoever opens the machine.
 */
export function gpuTrustVector({ mode }: Pick<GpuClaims, 'mode'>): TrustVector {
  return mode === 'ppcie' ? { ...PROTECTED_GPU, 'runtime-opaque': TrustValue.isolatedMemory } : PROTECTED_GPU;
}

export const switchTrustVector: TrustVector = PROTECTED_GPU;
