/** What the manifest states of a quote besides the quote: of its key, the key's certificate, its birth, and the boot log. */

import { equalBytes, toHex } from '../../attestation/core/bytes.ts';
import { isSignedBy } from '../../attestation/core/certificate-path.ts';
import { readSubjectPublicKeyInfo } from '../../attestation/core/public-key.ts';
import { readCertificate } from '../../attestation/core/x509.ts';
import { publicKeyOf } from '../../attestation/tpm/attestation-key.ts';
import { readEventLog } from '../../attestation/tpm/event-log/read.ts';
import { replayEventLog } from '../../attestation/tpm/event-log/replay.ts';
import { Algorithm, decodePublicArea } from '../../attestation/tpm/layout.ts';
import { computeName, computeQualifiedName, Hierarchy, hierarchyName } from '../../attestation/tpm/name.ts';
import { areaMembers, hashAlgorithm } from './vector-tpm-attest.ts';
import { fileOf, hasFile } from './vector-tpm-case.ts';
import type { Members, TpmCase } from './vector-tpm-case.ts';
import { certificateMembers, chainOf, chainVerifies, usageText } from './vector-tpm-certificate.ts';
import { creationMembers } from './vector-tpm-creation.ts';
import { hasAttributes, keyText } from './vector-tpm-keys.ts';
import { signatureValid } from './vector-tpm-quote-part.ts';
import type { QuotePart } from './vector-tpm-quote-part.ts';

/** What the manifest states of the keys of a quote. */
export async function keyMembers(subject: TpmCase, part: QuotePart | undefined): Promise<Members> {
  return {
    ...(hasFile(subject, 'akPublic') && areaFacts(subject, part)),
    ...(hasFile(subject, 'ekPublic') && { ek: areaMembers(fileOf(subject, 'ekPublic')) }),
    ...(hasFile(subject, 'badSignature') && { badSignatureValid: await badSignatureValid(subject, part) }),
    ...(hasFile(subject, 'caCert') && (await issuerFacts(subject))),
    ...(hasFile(subject, 'creationAttest') && { creation: await creationMembers(subject, 'creation') }),
    ...(hasFile(subject, 'ca0') && hasFile(subject, 'akCert') && { akCert: await certificateFacts(subject) }),
  };
}

function areaFacts(subject: TpmCase, part: QuotePart | undefined): Members {
  const bytes = fileOf(subject, 'akPublic');
  const area = decodePublicArea(bytes, 'akPublic');
  const isPrimary =
    part !== undefined &&
    equalBytes(
      computeQualifiedName(hierarchyName(Hierarchy.endorsement), computeName(area)),
      part.qualifiedSigner,
    );
  return {
    ak: areaMembers(bytes),
    akAcceptableAttributes: hasAttributes(subject),
    qualifiedSignerIsPrimaryOf: isPrimary ? 'endorsement' : 'none (child key)',
  };
}

async function badSignatureValid(subject: TpmCase, part: QuotePart | undefined): Promise<unknown> {
  if (part === undefined) throw new Error(`${subject.vector.id} has no quote`);
  return signatureValid({ ...part, signature: fileOf(subject, 'badSignature') });
}

async function issuerFacts(subject: TpmCase): Promise<Members> {
  const certificate = readCertificate(fileOf(subject, 'akCert'), 'akCert');
  const issuedBy = (name: string): Promise<boolean> =>
    isSignedBy(certificate, readCertificate(fileOf(subject, name), name), name);
  return {
    akCertIssuedByCa: await issuedBy('caCert'),
    akCertIssuedByWrongCa: await issuedBy('wrongCaCert'),
  };
}

async function certificateFacts(subject: TpmCase): Promise<Members> {
  const certificate = readCertificate(fileOf(subject, 'akCert'), 'akCert');
  const { eku, san } = certificateMembers(certificate);
  const area = decodePublicArea(fileOf(subject, 'akPublic'), 'akPublic');
  if (area.type === Algorithm.keyedHash) throw new Error('a keyed hash has no certificate');
  const certified = readSubjectPublicKeyInfo(certificate.subjectPublicKeyInfo, 'akCert');
  return {
    keyEqualsAk: keyText(certified) === keyText(publicKeyOf(area)),
    eku,
    san,
    chainVerifies: await chainVerifies(certificate, chainOf(subject)),
    keyUsage: usageText(certificate),
  };
}

/** The boot log replayed beside the values of one quote; nothing where the entry has no log. */
export function logMembers(subject: TpmCase, part: QuotePart | undefined): Members {
  if (part?.pcrs === undefined || !hasFile(subject, 'eventlog')) return {};
  const log = readEventLog(fileOf(subject, 'eventlog'));
  const replayed = [...replayEventLog(log, hashAlgorithm(part.bank))];
  const matching = replayed.filter(([pcr, value]) =>
    equalBytes(part.pcrs?.get(pcr) ?? value.slice(1), value),
  );
  return {
    logReplayMatchesQuotedPcrs: matching.map(([pcr]) => pcr).sort((left, right) => left - right),
    ...(part.label === '' && {
      logReplay: {
        algs: [part.bank],
        pcrs: Object.fromEntries(replayed.map(([pcr, value]) => [String(pcr), toHex(value)])),
        allMatchQuoted: matching.length === replayed.length,
      },
    }),
  };
}
