/**
 * The `nvidia-gpu` and `nvswitch` members of an evidence bundle: `{report, certificateChain}`. The chain is the five
 * certificates in DER, one after the other, from the leaf to the root: one form, where PEM has many.
 */

import { concatBytes, excerpt, fromBase64, fromUtf8, toBase64 } from '../core/bytes.ts';
import type { JsonValue } from '../core/canonical-json.ts';
import { readFirstElement, Tag } from '../core/der.ts';
import { base64Shape, objectShape } from '../core/json-shape.ts';
import { pemRefusals } from '../core/pem.ts';
import { defineRefusals } from '../core/refusal.ts';
import { readCertificate } from '../core/x509.ts';
import { deviceIdentity } from './identity.ts';
import { readDeviceReport } from './report.ts';
import type { DeviceReport, GpuReport, SwitchReport } from './report.ts';
import { MAX_REPORT_BYTES } from './spdm.ts';

export const evidenceRefusals = defineRefusals('malformed', {
  'gpu-chain-size': {
    means: 'The certificates of a device are more or larger than those of any device of NVIDIA.',
    hint: 'Send the five certificates of the attestation certificate chain.',
  },
  'gpu-evidence-unnamed': {
    means: 'Nothing in the evidence names the device.',
    hint: 'Send the whole chain: the boot ROM’s certificate, the second one, names it.',
  },
});

/** Chains have 4.8 KiB in PEM and 3.4 KiB in DER. */
const MAX_CHAIN_BYTES = 8192;
const MAX_CERTIFICATES = 8;
const BOOT_ROM = 1;

/** What the evidence of one device claims. */
export interface DeviceEvidence<Report extends DeviceReport = DeviceReport> {
  readonly report: Report;
  /** DER, from the leaf upwards. */
  readonly certificates: readonly Uint8Array[];
}
export type GpuEvidence = DeviceEvidence<GpuReport>;
export type SwitchEvidence = DeviceEvidence<SwitchReport>;

const evidenceShape = objectShape({
  report: base64Shape({ maxBytes: MAX_REPORT_BYTES }),
  certificateChain: base64Shape({ maxBytes: MAX_CHAIN_BYTES }),
});

/** @throws RefusalError of the family `malformed`: `gpu-*`, `shape-*`, `base64-malformed`, `layout-*`, `der-*` */
export function readGpuEvidence(value: JsonValue, path: string): GpuEvidence {
  const { report, certificateChain } = evidenceShape(value, path);
  return {
    report: readDeviceReport(report, 'gpu', `${path}.report`),
    certificates: splitDerChain(certificateChain, `${path}.certificateChain`),
  };
}

/** @throws as {@link readGpuEvidence} */
export function readSwitchEvidence(value: JsonValue, path: string): SwitchEvidence {
  const { report, certificateChain } = evidenceShape(value, path);
  return {
    report: readDeviceReport(report, 'switch', `${path}.report`),
    certificates: splitDerChain(certificateChain, `${path}.certificateChain`),
  };
}

/** Writes the member that the readers read. @param certificates DER, from the leaf to the root */
export function writeDeviceEvidence(report: Uint8Array, certificates: readonly Uint8Array[]): JsonValue {
  return { report: toBase64(report), certificateChain: toBase64(concatBytes(...certificates)) };
}

/** The 32 bytes that name the device, as its evidence claims it. @throws RefusalError of the family `malformed` */
export function claimedIdentity({ certificates }: Pick<DeviceEvidence, 'certificates'>): Uint8Array {
  const bootRom = certificates[BOOT_ROM];
  if (bootRom !== undefined) return deviceIdentity(readCertificate(bootRom, `chain[${BOOT_ROM}]`));
  throw evidenceRefusals.error('gpu-evidence-unnamed', {
    field: 'chain',
    expected: 'the certificate of the boot ROM',
    found: `${certificates.length} certificates`,
  });
}

function splitDerChain(bytes: Uint8Array, path: string): readonly Uint8Array[] {
  const certificates: Uint8Array[] = [];
  for (let rest = bytes; rest.length > 0;) {
    if (certificates.length === MAX_CERTIFICATES) throw tooMany(path, 'more certificates');
    const { encoded } = readFirstElement(rest, Tag.sequence, `${path}[${certificates.length}]`);
    certificates.push(encoded);
    rest = rest.subarray(encoded.length);
  }
  return certificates;
}

const PEM_BLOCK = /-----BEGIN CERTIFICATE-----\n((?:[A-Za-z0-9+/=]+\n)+)-----END CERTIFICATE-----(?:\n|$)/y;

/**
 * The certificates of a chain as NVML, NSCQ and NVIDIA's tools give it: PEM blocks with nothing between them, and at the
 * end what a C string leaves there, zeros.
 *
 * @returns DER, in the order of the blocks
 * @throws RefusalError `gpu-chain-size`, `pem-malformed`, `utf8-malformed`, `base64-malformed`
 */
export function readPemChain(bytes: Uint8Array, path: string): readonly Uint8Array[] {
  if (bytes.length > MAX_CHAIN_BYTES) throw tooMany(path, `${bytes.length} bytes`);
  const text = fromUtf8(bytes, path).replaceAll('\r\n', '\n').replace(/\0+$/, '');
  const certificates: Uint8Array[] = [];
  PEM_BLOCK.lastIndex = 0;
  for (let at = 0; at < text.length; at = PEM_BLOCK.lastIndex) {
    const found = excerpt(text.slice(at));
    const content = PEM_BLOCK.exec(text)?.[1];
    if (content === undefined) {
      const facts = {
        field: `${path}[${certificates.length}]`,
        expected: 'a block labelled CERTIFICATE',
        found,
      };
      throw pemRefusals.error('pem-malformed', facts);
    }
    if (certificates.length === MAX_CERTIFICATES) throw tooMany(path, 'more certificates');
    certificates.push(fromBase64(content.replaceAll('\n', ''), `${path}[${certificates.length}]`));
  }
  return certificates;
}

function tooMany(field: string, found: string): Error {
  const expected = `at most ${MAX_CERTIFICATES} certificates in ${MAX_CHAIN_BYTES} bytes`;
  return evidenceRefusals.error('gpu-chain-size', { field, expected, found });
}
