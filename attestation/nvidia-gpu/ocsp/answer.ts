/**
 * Reading OCSP answers (RFC 6960 section 4.2). Facts only: what an answer says, not who says it (verify.ts). An answer
 * has one status, as one certificate is asked about, and at most one certificate: that of its responder.
 */

import {
  booleanOf,
  byteStringOf,
  contentOf,
  contextTag,
  objectIdentifierOf,
  readElement,
  smallIntegerOf,
  Tag,
  timeOf,
} from '../../core/der.ts';
import type { DerElement, DerReader } from '../../core/der.ts';
import type { SignatureScheme } from '../../core/signature.ts';
import { readCertificate, readSignatureScheme } from '../../core/x509.ts';
import type { Certificate } from '../../core/x509.ts';
import { readCertificateId } from './certificate-id.ts';
import type { CertificateId } from './certificate-id.ts';
import { NONCE_BYTES, ocspFormatRefusals, OcspId } from './format.ts';

/** How a responder names itself: by its subject, or by SHA-1 of its public key. Neither proves anything. */
export type ResponderId =
  { readonly by: 'name'; readonly name: Uint8Array } | { readonly by: 'key'; readonly keyHash: Uint8Array };

/** What an answer says of a certificate. Times are POSIX seconds. */
export type ClaimedStatus =
  | { readonly status: 'good' | 'unknown' }
  | { readonly status: 'revoked'; readonly revokedAt: number; readonly reason: number | undefined };

/** An answer as its bytes claim it. */
export interface ClaimedOcspAnswer {
  /** The bytes that the responder signed. */
  readonly tbsResponseData: Uint8Array;
  readonly responderId: ResponderId;
  readonly producedAt: number;
  readonly certificateId: CertificateId;
  readonly status: ClaimedStatus;
  readonly thisUpdate: number;
  readonly nextUpdate: number;
  /** What the question had to be answered with; undefined when the answer echoes none. */
  readonly nonce: Uint8Array | undefined;
  readonly signatureScheme: SignatureScheme;
  readonly signature: Uint8Array;
  /** The certificate of a delegated responder; undefined when the issuer answers itself. */
  readonly responder: Certificate | undefined;
}

/** OCSPResponseStatus other than `successful`: there is no answer inside. */
export interface UnansweredQuestion {
  readonly responseStatus: string;
}

/** NVIDIA's have about 1 KiB. */
const MAX_ANSWER_BYTES = 16 * 1024;

const RESPONSE_STATUS: ReadonlyMap<number, string> = new Map([
  [0, 'successful'],
  [1, 'malformedRequest'],
  [2, 'internalError'],
  [3, 'tryLater'],
  [5, 'sigRequired'],
  [6, 'unauthorized'],
]);

/**
 * Reads one answer that makes up the whole input.
 *
 * @throws RefusalError `ocsp-malformed`, `ocsp-size`, `der-*`, `certificate-*`
 */
export function readOcspAnswer(bytes: Uint8Array, path: string): ClaimedOcspAnswer | UnansweredQuestion {
  if (bytes.length > MAX_ANSWER_BYTES) {
    const expected = `at most ${MAX_ANSWER_BYTES} bytes`;
    throw ocspFormatRefusals.error('ocsp-size', { field: path, expected, found: `${bytes.length} bytes` });
  }
  const reader = contentOf(readElement(bytes, Tag.sequence, path));
  const code = smallIntegerOf(reader.next(Tag.enumerated, 'responseStatus'));
  const responseStatus = RESPONSE_STATUS.get(code);
  if (responseStatus === undefined) throw malformed(path, 'a response status of RFC 6960', String(code));
  if (code === 0) return readResponseBytes(reader, path);
  reader.end();
  return { responseStatus };
}

function malformed(field: string, expected: string, found: string): Error {
  return ocspFormatRefusals.error('ocsp-malformed', { field, expected, found });
}

/** The one element inside an explicit tag. */
function openExplicit(wrapper: DerElement, tag: number, name: string): DerElement {
  const reader = contentOf(wrapper);
  const element = reader.next(tag, name);
  reader.end();
  return element;
}

function readResponseBytes(reader: DerReader, path: string): ClaimedOcspAnswer {
  const wrapper = reader.next(contextTag(0, 'constructed'), 'responseBytes');
  reader.end();
  const responseBytes = contentOf(openExplicit(wrapper, Tag.sequence, 'value'));
  const type = objectIdentifierOf(responseBytes.next(Tag.objectIdentifier, 'responseType'));
  const response = responseBytes.next(Tag.octetString, 'response').content;
  responseBytes.end();
  if (type !== OcspId.basicResponse) throw malformed(path, 'a basic response', type);
  return readBasicResponse(response, `${path}.response`);
}

function readBasicResponse(bytes: Uint8Array, path: string): ClaimedOcspAnswer {
  const reader = contentOf(readElement(bytes, Tag.sequence, path));
  const tbs = reader.next(Tag.sequence, 'tbsResponseData');
  const signatureScheme = readSignatureScheme(reader.next(Tag.sequence, 'signatureAlgorithm'));
  const signature = byteStringOf(reader.next(Tag.bitString, 'signature'));
  const certs = reader.optional(contextTag(0, 'constructed'), 'certs');
  reader.end();
  return {
    tbsResponseData: tbs.encoded,
    ...readResponseData(tbs),
    signatureScheme,
    signature,
    responder: certs === undefined ? undefined : readResponder(openExplicit(certs, Tag.sequence, 'list')),
  };
}

function readResponder(list: DerElement): Certificate {
  const reader = contentOf(list);
  const certificate = reader.next(Tag.sequence, 'certificate');
  if (!reader.isAtEnd) throw malformed(list.path, 'the certificate of the responder alone', 'several');
  return readCertificate(certificate.encoded, certificate.path);
}

type ResponseData = Omit<
  ClaimedOcspAnswer,
  'tbsResponseData' | 'signatureScheme' | 'signature' | 'responder'
>;

/** The version is v1, which DER leaves out as its default. */
function readResponseData(element: DerElement): ResponseData {
  const reader = contentOf(element);
  const responderId = readResponderId(reader.any('responderID'));
  const producedAt = timeOf(reader.next(Tag.generalizedTime, 'producedAt'));
  const responses = contentOf(reader.next(Tag.sequence, 'responses'));
  const single = readSingleResponse(responses.next(Tag.sequence, 'response'));
  if (!responses.isAtEnd) throw malformed(element.path, 'one response', 'several');
  const wrapper = reader.optional(contextTag(1, 'constructed'), 'responseExtensions');
  reader.end();
  return { responderId, producedAt, ...single, nonce: wrapper && readNonce(wrapper) };
}

function readResponderId(element: DerElement): ResponderId {
  if (element.tag === contextTag(1, 'constructed')) {
    return { by: 'name', name: openExplicit(element, Tag.sequence, 'byName').encoded };
  }
  if (element.tag === contextTag(2, 'constructed')) {
    return { by: 'key', keyHash: openExplicit(element, Tag.octetString, 'byKey').content };
  }
  throw malformed(element.path, 'byName or byKey', `tag 0x${element.tag.toString(16)}`);
}

type SingleResponse = Pick<ClaimedOcspAnswer, 'certificateId' | 'status' | 'thisUpdate' | 'nextUpdate'>;

/** Without nextUpdate an answer would be good for ever: such a one is not taken. */
function readSingleResponse(element: DerElement): SingleResponse {
  const reader = contentOf(element);
  const certificateId = readCertificateId(reader.next(Tag.sequence, 'certID'));
  const status = readStatus(reader.any('certStatus'));
  const thisUpdate = timeOf(reader.next(Tag.generalizedTime, 'thisUpdate'));
  const wrapper = reader.next(contextTag(0, 'constructed'), 'nextUpdate');
  const nextUpdate = timeOf(openExplicit(wrapper, Tag.generalizedTime, 'value'));
  const extensions = reader.optional(contextTag(1, 'constructed'), 'singleExtensions');
  if (extensions !== undefined) readExtensions(extensions, []);
  reader.end();
  if (nextUpdate <= thisUpdate) throw malformed(element.path, 'nextUpdate after thisUpdate', 'before it');
  return { certificateId, status, thisUpdate, nextUpdate };
}

function readStatus(element: DerElement): ClaimedStatus {
  if (element.tag === contextTag(1, 'constructed')) return readRevokedInfo(element);
  const status = { [contextTag(0, 'primitive')]: 'good', [contextTag(2, 'primitive')]: 'unknown' } as const;
  const known = status[element.tag];
  if (known === undefined || element.content.length > 0) {
    throw malformed(element.path, 'good, revoked or unknown', `tag 0x${element.tag.toString(16)}`);
  }
  return { status: known };
}

/** CRLReason (RFC 5280 section 5.3.1). 7 is not used. */
const REASONS: readonly number[] = [0, 1, 2, 3, 4, 5, 6, 8, 9, 10];

function readRevokedInfo(element: DerElement): ClaimedStatus {
  const reader = contentOf(element);
  const revokedAt = timeOf(reader.next(Tag.generalizedTime, 'revocationTime'));
  const wrapper = reader.optional(contextTag(0, 'constructed'), 'revocationReason');
  reader.end();
  const reason = wrapper && smallIntegerOf(openExplicit(wrapper, Tag.enumerated, 'value'));
  if (reason !== undefined && !REASONS.includes(reason)) {
    throw malformed(element.path, 'a reason of RFC 5280', String(reason));
  }
  return { status: 'revoked', revokedAt, reason };
}

function readNonce(wrapper: DerElement): Uint8Array | undefined {
  const value = readExtensions(wrapper, [OcspId.nonce]).get(OcspId.nonce);
  if (value === undefined) return undefined;
  const nonce = readElement(value, Tag.octetString, `${wrapper.path}.nonce`).content;
  if (nonce.length >= NONCE_BYTES.min && nonce.length <= NONCE_BYTES.max) return nonce;
  const expected = `${NONCE_BYTES.min} to ${NONCE_BYTES.max} bytes`;
  throw ocspFormatRefusals.error('ocsp-size', {
    field: `${wrapper.path}.nonce`,
    expected,
    found: `${nonce.length} bytes`,
  });
}

/** Extensions by identifier. A critical one that is not understood changes what the answer means. */
function readExtensions(wrapper: DerElement, understood: readonly string[]): ReadonlyMap<string, Uint8Array> {
  const list = openExplicit(wrapper, Tag.sequence, 'list');
  const reader = contentOf(list);
  const values = new Map<string, Uint8Array>();
  while (!reader.isAtEnd) {
    const extension = contentOf(reader.next(Tag.sequence, 'extension'));
    const identifier = objectIdentifierOf(extension.next(Tag.objectIdentifier, 'identifier'));
    const critical = extension.optional(Tag.boolean, 'critical');
    const value = extension.next(Tag.octetString, 'value').content;
    extension.end();
    const isCritical = critical !== undefined && booleanOf(critical);
    if (values.has(identifier) || (isCritical && !understood.includes(identifier))) {
      throw malformed(list.path, 'extensions once each, critical ones only if understood', identifier);
    }
    values.set(identifier, value);
  }
  return values;
}
