/** Vectors of the kinds `certify` and `name`: certifications of objects, and the Names of public areas. */

import { z } from 'zod';

import { isSignedBy } from '../../attestation/core/certificate-path.ts';
import { equalBytes, toHex } from '../../attestation/core/bytes.ts';
import { encode } from '../../attestation/core/layout.ts';
import { readSubjectPublicKeyInfo } from '../../attestation/core/public-key.ts';
import { Checklist, judge } from '../../attestation/core/verdict.ts';
import { readCertificate } from '../../attestation/core/x509.ts';
import { checkAttestationKey } from '../../attestation/tpm/attestation-key.ts';
import type { SigningKey } from '../../attestation/tpm/attestation-key.ts';
import { authenticateCertification, demandCertifiedObject } from '../../attestation/tpm/certify.ts';
import { tpmHash } from '../../attestation/tpm/hash.ts';
import { Algorithm, decodePublicArea, publicArea } from '../../attestation/tpm/layout.ts';
import { computeName } from '../../attestation/tpm/name.ts';
import { endorsementPublicArea, usualEndorsementTemplate } from '../../attestation/tpm/templates.ts';
import { areaMembers, attestMembers } from './vector-tpm-attest.ts';
import { certificateMembers, nameText } from './vector-tpm-certificate.ts';
import { expectedOf, fileOf, hasFile, hexShape, refusalsOf, Unjudged } from './vector-tpm-case.ts';
import type { KindJudge, Members, TpmCase } from './vector-tpm-case.ts';
import { certifiedKey, keyWithScheme } from './vector-tpm-keys.ts';
import { framedSignature, signatureValid } from './vector-tpm-quote-part.ts';
import { SHA1_REASON } from './vector-tpm-reasons.ts';

/** Of a bare signature nothing says with which hash it was made; the manifest does. */
const certifyShape = z.looseObject({
  attest: z.looseObject({ qualifiedSigner: hexShape, extraData: hexShape }),
  hash: z.enum(['sha1', 'sha256']),
});

function askCertification(subject: TpmCase): Promise<readonly string[]> {
  const { attest: stated } = expectedOf(subject, certifyShape);
  const area = decodePublicArea(fileOf(subject, 'publicArea'), 'publicArea');
  const presented = {
    attest: fileOf(subject, 'certInfo'),
    signature: framedSignature(subject, 'signature'),
  };
  return refusalsOf(() =>
    judge(async (checks) => {
      const expected = {
        key: certifierOf(subject) ?? refuseSha1(),
        qualifiedSigners: [stated.qualifiedSigner],
        extraData: stated.extraData,
      };
      const statement = await authenticateCertification(presented, expected, checks);
      return { name: demandCertifiedObject(statement, area, checks) };
    }),
  );
}

/** Undefined for a signature with SHA-1. */
function certifierOf(subject: TpmCase): SigningKey | undefined {
  const key = certifiedKey(subject, 'aikCert');
  const scheme = key.type === 'ec' ? 'ecdsa' : 'rsassa';
  return keyWithScheme(key, { scheme, hash: expectedOf(subject, certifyShape).hash });
}

/** @throws RefusalError `tpm-hash` */
function refuseSha1(): never {
  tpmHash(Algorithm.sha1, 'signature.hash');
  throw new Error('SHA-1 was accepted');
}

export const certifyJudge: KindJudge = {
  async outcomes(subject) {
    const codes = await askCertification(subject);
    return [{ label: '', codes, explanation: explainCertification(subject, codes) }];
  },
  async members(subject) {
    const bytes = fileOf(subject, 'certInfo');
    const stated = attestMembers(bytes);
    const object = areaMembers(fileOf(subject, 'publicArea'));
    const { hash } = expectedOf(subject, certifyShape);
    const signed = {
      key: certifierOf(subject),
      signature: framedSignature(subject, 'signature'),
      attest: bytes,
    };
    const valid = await signatureValid(signed);
    return {
      attest: stated,
      object,
      objectNameMatches: stated['name'] === object['name'],
      aik: await issuerMembers(subject),
      hash: valid === true ? hash : new Unjudged(SHA1_REASON),
      signatureValid: valid,
      objectIsAcceptableAk: (await keyCodes(subject)).length === 0,
    };
  },
};

function explainCertification(subject: TpmCase, codes: readonly string[]): string | undefined {
  const { hash, attest: stated } = expectedOf(subject, certifyShape);
  const code = codes.join();
  if (hash === 'sha1' && code === 'tpm-hash') return SHA1_REASON;
  const isNameless = stated.qualifiedSigner.length === 0 && code === 'tpm-certify-signer';
  return isNameless ? 'a statement that does not name its signer is refused' : undefined;
}

function keyCodes(subject: TpmCase): Promise<readonly string[]> {
  const area = decodePublicArea(fileOf(subject, 'publicArea'), 'publicArea');
  return refusalsOf(() => checkAttestationKey(area, new Checklist()));
}

async function issuerMembers(subject: TpmCase): Promise<Members> {
  const certificate = readCertificate(fileOf(subject, 'aikCert'), 'aikCert');
  const { san, eku, validTo } = certificateMembers(certificate);
  const issuer = readCertificate(fileOf(subject, 'aikIssuer'), 'aikIssuer');
  return {
    san,
    eku,
    issuer: nameText(certificate.issuer),
    validTo,
    issuedBySecond: await isSignedBy(certificate, issuer, 'aikCert'),
  };
}

/** A Name that somebody sent along is held against the computed one, as that in a certification is. */
function askName(subject: TpmCase): Promise<readonly string[]> {
  const area = decodePublicArea(fileOf(subject, 'publicArea'), 'publicArea');
  const name = hasFile(subject, 'name') ? fileOf(subject, 'name') : computeName(area);
  const statement = { attested: { name, qualifiedName: new Uint8Array(0) } };
  return refusalsOf(() => demandCertifiedObject(statement, area, new Checklist()));
}

export const nameJudge: KindJudge = {
  outcomes: async (subject) => [{ label: '', codes: await askName(subject) }],
  members: (subject) => {
    const bytes = fileOf(subject, 'publicArea');
    const area = areaMembers(bytes);
    const published = hasFile(subject, 'name') ? toHex(fileOf(subject, 'name')) : undefined;
    return Promise.resolve({
      ...area,
      publishedName: published,
      publishedNameMatches: published === area['name'],
      ...(hasFile(subject, 'cert') && { keyEqualsCertificateKey: isRebuilt(subject, bytes) }),
    });
  },
};

/** Whether the certified key and the usual template give this public area, as enrolment rebuilds it. */
function isRebuilt(subject: TpmCase, bytes: Uint8Array): boolean {
  const { subjectPublicKeyInfo } = readCertificate(fileOf(subject, 'cert'), 'cert');
  const key = readSubjectPublicKeyInfo(subjectPublicKeyInfo, 'cert');
  const rebuilt = endorsementPublicArea(usualEndorsementTemplate(key), key);
  return equalBytes(encode(publicArea, rebuilt, 'ekPublic'), bytes);
}
