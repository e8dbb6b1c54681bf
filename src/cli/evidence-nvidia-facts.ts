/** What evidence of GPUs and NVSwitches says of itself, and what tools wrote beside it. Nothing here is verified. */

import { readDeviceReport } from '../../attestation/nvidia-gpu/report.ts';
import type { ReportKind } from '../../attestation/nvidia-gpu/spdm.ts';
import { certificateSummary } from './evidence-certificate.ts';
import { readNvidiaDevices, type NamedDevice } from './evidence-nvidia-devices.ts';

/** @throws RefusalError of the families `malformed`, `usage` and `environment` */
export async function nvidiaFacts(
  path: string,
  kind: ReportKind,
  { chain }: { readonly chain: readonly string[] },
): Promise<object> {
  const devices = (await readNvidiaDevices(path, kind, chain)).map(deviceFacts);
  const [only, ...others] = devices;
  return only !== undefined && others.length === 0 ? only : { devices };
}

function deviceFacts({ kind, path, report, certificates, hints }: NamedDevice): object {
  const { message, fields, opaqueData } = readDeviceReport(report, kind, path);
  const { request, response, signature } = message;
  return {
    kind,
    unsignedHints: hints,
    report: {
      nonce: request.nonce,
      responseNonce: response.nonce,
      opaqueData: { format: opaqueData.format, ...fields },
      // As manifests count them, from 0.
      measurements: response.blocks.map(({ measurement }) => measurement.value),
      signature,
    },
    certificates: certificates.map((der, i) => certificateSummary(der, `chain[${i}]`)),
  };
}
