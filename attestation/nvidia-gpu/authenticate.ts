/**
 * Authenticity of a report: that a key of the hierarchy signed exactly these bytes for this challenge, and that the key is
 * that of the firmware which the report names.
 */

import { p384 } from '@noble/curves/nist.js';

import { equalBytes, toHex } from '../core/bytes.ts';
import { remembered } from '../core/certificate-memory.ts';
import { readSubjectPublicKeyInfo } from '../core/public-key.ts';
import { verifySignature } from '../core/signature.ts';
import { defineChecks } from '../core/verdict.ts';
import type { Checklist } from '../core/verdict.ts';
import { verifyDeviceChain } from './chain.ts';
import type { AuthenticChain, ChainInputs } from './chain.ts';
import type { DeviceEvidence } from './evidence.ts';
import { readFirmwareId } from './fwid.ts';
import type { FirmwareId } from './fwid.ts';
import { deviceIdentity } from './identity.ts';
import type { DeviceReport } from './report.ts';
import { signedBytes } from './spdm.ts';

export const reportChecks = defineChecks('inauthentic', {
  'gpu-signature-range': {
    means: 'r or s of the signature is not a number from 1 to the order of P-384.',
    hint: 'The signature was altered, or was never made.',
    protects: 'Degenerate signatures could verify under some libraries.',
  },
  'gpu-signature': {
    means: 'The report is not signed by the key of the first certificate.',
    hint: 'Send the chain of the device that made the report, as it was at that time.',
    protects: 'Every other value of the report could be invented.',
  },
  'gpu-nonce': {
    means: 'The report was made for another challenge.',
    hint: 'Ask for a report over the nonce of this challenge; each challenge is good for one attempt.',
    protects: 'A report of the past, or of an honest machine, could be sent along.',
  },
  'gpu-nonce-zero': {
    means: 'The nonce of the report is all zeros.',
    hint: 'Give the nonce along when asking for the report; NVML does not demand one.',
    protects: 'Reports that were made for nobody could be sent along.',
  },
  'gpu-chip': {
    means: 'Report and certificates name different chips, or none that is known.',
    hint: 'Send report and chain of one device; a newer release may know the chip.',
    protects: 'The rules and reference values of one chip could be applied to another.',
  },
  'gpu-fwid-missing': {
    means: 'The report does not say which firmware the key belongs to.',
    hint: 'Update the driver to 550 or later; the operator’s policy may name 535 and 545 drivers that do without.',
    protects: 'A GPU could run other firmware than the certificate stands for, unnoticed.',
  },
  'gpu-fwid': {
    means: 'The firmware in the report is not the one that the certificate stands for.',
    hint: 'Send the chain that the GPU gives with its present firmware.',
    protects: 'Old or revoked firmware could answer with the certificate of another.',
  },
  'gpu-device-key': {
    means: 'The leaf certificate names another device’s key than the boot ROM’s.',
    hint: 'Send the chain that the device itself gives.',
    protects: 'A certificate made for another device could stand in.',
  },
  'gpu-debug': {
    means: 'The firmware of the GPU can be debugged, as its certificate says.',
    hint: 'Use a production part with production firmware.',
    protects: 'Whoever holds the debug keys could read what the GPU computes on.',
  },
});

/** A report that a certified key signed, with what its certificates prove. */
export interface AuthenticReport<Report extends DeviceReport = DeviceReport> {
  readonly report: Report;
  readonly chain: AuthenticChain;
  /** As RIMs, policies and claims name it. */
  readonly chip: string;
  /** SHA-384 of the firmware, from the certificate: 48 bytes. */
  readonly fwid: Uint8Array;
  /** 32 bytes that name the device. */
  readonly identity: Uint8Array;
}

export interface AuthenticityInputs extends ChainInputs {
  /** What the device was asked over, 32 bytes; undefined when the caller does not know, and freshness is not judged. */
  readonly expectedNonce: Uint8Array | undefined;
  /** Versions of drivers that the policy accepts although they send no FWID. */
  readonly driversWithoutFwid: readonly string[];
}

/**
 * Authenticates the report of one device.
 *
 * @throws RefusalError `gpu-*`, `path-*`, and what reading certificates throws
 */
export async function authenticateReport<Report extends DeviceReport>(
  { report, certificates }: DeviceEvidence<Report>,
  inputs: AuthenticityInputs,
  checks: Checklist,
): Promise<AuthenticReport<Report>> {
  const chain = await verifyDeviceChain(certificates, report.kind, inputs, checks);
  await demandSignature(report, chain, inputs, checks);
  demandNonce(report, inputs.expectedNonce, checks);
  const chip = demandChip(report, chain, checks);
  const firmware = readFirmwareId(chain.leaf.certificate, chain.family.firmwareIdForm, 'chain[0]');
  demandFirmware(report, firmware, inputs.driversWithoutFwid, checks);
  demandDevice(firmware, chain, checks);
  const identity = deviceIdentity(chain.bootRom.certificate);
  return { report, chain, chip, fwid: firmware.digest, identity };
}

const COORDINATE_BYTES = 48;

async function demandSignature(
  { bytes, message: { signature } }: DeviceReport,
  { leaf }: AuthenticChain,
  { memory }: ChainInputs,
  checks: Checklist,
): Promise<void> {
  const [r, s] = [signature.subarray(0, COORDINATE_BYTES), signature.subarray(COORDINATE_BYTES)];
  checks.demand(reportChecks, 'gpu-signature-range', isScalar(r) && isScalar(s), {
    field: 'report.signature',
    expected: 'r and s from 1 to the order of P-384',
    found: `r ${toHex(r.subarray(0, 8))}…, s ${toHex(s.subarray(0, 8))}…`,
  });
  const key = remembered(memory, 'public-key', leaf.certificate.subjectPublicKeyInfo, (copy) =>
    readSubjectPublicKeyInfo(copy, 'chain[0].publicKey'),
  );
  const scheme = { algorithm: 'ecdsa', hash: 'SHA-384' } as const;
  const holds = await verifySignature(key, scheme, signature, signedBytes(bytes));
  checks.demand(reportChecks, 'gpu-signature', holds, {
    field: 'report.signature',
    expected: 'a signature by the first certificate',
    found: holds ? 'one' : 'one that does not verify',
  });
}

function isScalar(bigEndian: Uint8Array): boolean {
  const value = BigInt(`0x${toHex(bigEndian)}`);
  return value > 0n && value < p384.Point.Fn.ORDER;
}

function demandNonce(
  { message: { request } }: DeviceReport,
  expected: Uint8Array | undefined,
  checks: Checklist,
): void {
  const { nonce } = request;
  const isZero = nonce.every((byte) => byte === 0);
  checks.demand(reportChecks, 'gpu-nonce-zero', !isZero, {
    field: 'report.request.nonce',
    expected: 'a value',
    found: isZero ? 'zeros' : 'one',
  });
  if (expected === undefined) return;
  checks.demand(reportChecks, 'gpu-nonce', equalBytes(nonce, expected), {
    field: 'report.request.nonce',
    expected: toHex(expected),
    found: toHex(nonce),
  });
}

function demandChip(report: DeviceReport, { family }: AuthenticChain, checks: Checklist): string {
  const stated = report.kind === 'gpu' ? report.fields.chipInfo : undefined;
  const chip = stated ?? family.unstatedChip;
  checks.demand(reportChecks, 'gpu-chip', chip !== undefined && family.chips.includes(chip), {
    field: 'report.opaqueData.chipInfo',
    expected: `${family.chips.join(', ')}, as certified for ${family.name}`,
    found: chip ?? 'none',
  });
  return chip;
}

/** Switches have no such entry. Of GPUs, drivers 535 and 545 have none: only their names in the policy let them pass. */
function demandFirmware(
  report: DeviceReport,
  { digest }: FirmwareId,
  driversWithout: readonly string[],
  checks: Checklist,
): void {
  if (report.kind === 'switch') return;
  const { fwid, driverVersion } = report.fields;
  const isExcused = driversWithout.includes(driverVersion);
  checks.demand(reportChecks, 'gpu-fwid-missing', fwid !== undefined || isExcused, {
    field: 'report.opaqueData.fwid',
    expected: isExcused ? `one, or none from driver ${driverVersion}` : 'one',
    found: fwid === undefined ? `none from driver ${driverVersion}` : 'one',
  });
  if (fwid === undefined) return;
  checks.demand(reportChecks, 'gpu-fwid', equalBytes(fwid, digest), {
    field: 'report.opaqueData.fwid',
    expected: toHex(digest),
    found: toHex(fwid),
  });
}

/** Each form of the extension says one thing more. */
function demandDevice(
  { deviceKey, isDebug }: FirmwareId,
  { bootRom }: AuthenticChain,
  checks: Checklist,
): void {
  if (deviceKey !== undefined) {
    const holds = equalBytes(deviceKey, bootRom.certificate.subjectPublicKeyInfo);
    checks.demand(reportChecks, 'gpu-device-key', holds, {
      field: 'chain[0].deviceID',
      expected: 'the key of the boot ROM',
      found: holds ? 'that' : 'another',
    });
  }
  if (isDebug !== undefined) {
    checks.demand(reportChecks, 'gpu-debug', !isDebug, {
      field: 'chain[0].flags',
      expected: 'no debug flag',
      found: isDebug ? 'one' : 'none',
    });
  }
}
