/** NVIDIA's services for what a simulated vendor has, on loopback: manifests, answers about certificates. */

import type { IncomingMessage, ServerResponse } from 'node:http';

import { toBase64, toUtf8 } from '../../attestation/core/bytes.ts';
import { readCertificate } from '../../attestation/core/x509.ts';
import { readRim } from '../../attestation/nvidia-gpu/rim/document.ts';
import type { SimulatedVendor } from '../../src/agent/simulated/nvidia-vendor.ts';
import { respond } from './key-server.ts';

const NONCE_BYTES = 32;
const MANIFEST_PATH = '/v1/rim/';

/** What the manifest service writes around a manifest. */
export function wrapManifest(identifier: string, manifest: Uint8Array, more: object = {}): Uint8Array {
  const answer = { id: identifier, rim: toBase64(manifest), sha256: '', rim_format: 'TCG', request_id: '1' };
  return toUtf8(JSON.stringify({ ...answer, ...more }));
}

/**
 * Answers as the services do.
 *
 * @param manifests by their names as collateral
 * @param certificates DER of devices about which somebody may ask, besides those of the manifests
 */
export function nvidiaHandler(
  vendor: SimulatedVendor,
  manifests: ReadonlyMap<string, Uint8Array>,
  certificates: readonly Uint8Array[],
): (incoming: IncomingMessage, outgoing: ServerResponse) => void {
  const signers = [...manifests.values()].flatMap((bytes) => readRim(bytes).signature.certificates);
  const known = [...certificates, ...signers];
  return (incoming, outgoing) => {
    const identifier = (incoming.url ?? '').replace(MANIFEST_PATH, '');
    const manifest = manifests.get(`rim:${identifier}`);
    if (incoming.method === 'POST') void answerQuestion(vendor, known, incoming, outgoing);
    else respond(outgoing, manifest && wrapManifest(identifier, manifest));
  };
}

/** A question ends with its nonce and has inside of it the serial number of one certificate. */
async function answerQuestion(
  vendor: SimulatedVendor,
  known: readonly Uint8Array[],
  incoming: IncomingMessage,
  outgoing: ServerResponse,
): Promise<void> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of incoming as AsyncIterable<Uint8Array>) chunks.push(chunk);
  const question = Buffer.concat(chunks);
  const subject = known.find((der) =>
    question.includes(Buffer.from(readCertificate(der, 'certificate').serialNumber)),
  );
  const nonce = new Uint8Array(question.subarray(-NONCE_BYTES));
  respond(outgoing, subject && (await vendor.answer(subject, { nonce })));
}
