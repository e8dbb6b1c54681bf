/** NVIDIA's own answers, and every mutation of them that the manifest of the shared vectors describes. */

import { describe, expect, it } from 'vitest';

import { verifyCertificatePath, type TrustAnchor } from '../../../../attestation/core/certificate-path.ts';
import { readCertificate } from '../../../../attestation/core/x509.ts';
import { verifyOcspAnswer } from '../../../../attestation/nvidia-gpu/ocsp/verify.ts';
import { splitCertificates } from '../../../../src/platform/collateral/certificates.ts';
import { refusalCodeAsync } from '../../../support/refusal-code.ts';
import { openVectorFolder } from '../../../support/vector-folder.ts';
import { caseOf, fileOf, timeOf, vectorById, type NvidiaCase } from '../../../support/vector-nvidia-case.ts';
import { applyOperations } from '../../../support/vector-nvidia-edits.ts';
import { readNvidiaManifest } from '../../../support/vector-nvidia-manifest.ts';
import { vectorFolder, vectorsMissing } from '../../../support/vectors.ts';

const missing = vectorsMissing('nvidia');

/** Which check of the manifest a refusal is one of. */
const CHECKS: Readonly<Record<string, string>> = {
  'ocsp-not-yet-valid': 'window',
  'ocsp-stale': 'window',
  'ocsp-signature': 'signature',
  'ocsp-responder-signature': 'signature',
  'ocsp-other-certificate': 'status_good',
};

const DAY_SECONDS = 86_400;

/** The status, or the refusal; the issuer is authentic by a path to one of the roots. */
async function statusOf(subject: NvidiaCase): Promise<string> {
  const { set } = subject;
  const read = (name: string): ReturnType<typeof readCertificate>[] =>
    splitCertificates(fileOf(subject, name), name).map((der, i) => readCertificate(der, `${name}[${i}]`));
  const [certificate] = read('certificate');
  const issuers = read('issuer_chain');
  const [issuer] = issuers;
  if (certificate === undefined || issuer === undefined) throw new Error('no certificate');
  const anchors = set.manifest.roots.map(({ cn, spki_sha256 }): TrustAnchor => ({
    name: cn,
    publicKeyDigest: Uint8Array.from(Buffer.from(spki_sha256, 'hex')),
    simulated: false,
  }));
  const time = timeOf(subject);
  await verifyCertificatePath(certificate, {
    intermediates: issuers.map(({ encoded }) => encoded),
    anchors,
    time,
    validity: 'enforce',
    understoodLeafExtensions: [],
  });
  const question = { certificate, issuer, time, maxAgeSeconds: DAY_SECONDS };
  let status = '';
  const code = await refusalCodeAsync(async () => {
    ({ status } = await verifyOcspAnswer(fileOf(subject, 'response'), question));
  });
  return code === 'accepted' ? status : code;
}

describe.skipIf(missing !== undefined)(`OCSP answers of NVIDIA ${missing ?? ''}`, () => {
  const folder = missing === undefined ? openVectorFolder(vectorFolder('nvidia')) : undefined;
  const set = folder && { folder, manifest: readNvidiaManifest(folder.manifest) };
  const vectors = set?.manifest.vectors.filter(({ kind }) => kind === 'ocsp') ?? [];
  const ids = new Set(vectors.map(({ id }) => id));

  it.each(vectors)('$id is $parsed.cert_status', async (vector) => {
    if (set === undefined) throw new Error('no vectors');
    expect(vector.expect.failing).toEqual([]);
    expect(await statusOf(caseOf(set, vector))).toBe(vector.parsed['cert_status']);
  });

  it.each(set?.manifest.mutations.filter(({ base }) => ids.has(base)) ?? [])(
    '$id is refused',
    async (mutation) => {
      if (set === undefined) throw new Error('no vectors');
      expect(mutation.expect.verdict).toBe('reject');
      const mutant = applyOperations(caseOf(set, vectorById(set, mutation.base)), mutation.ops);
      expect(mutation.expect.must_fail).toContain(CHECKS[await statusOf(mutant)]);
    },
  );
});
