import { beforeAll, describe, expect, it } from 'vitest';

import { toUtf8 } from '../../../../attestation/core/bytes.ts';
import { readRim } from '../../../../attestation/nvidia-gpu/rim/document.ts';
import { refusalCode } from '../../../support/refusal-code.ts';
import {
  digestOf,
  DS,
  inputsOf,
  makeChain,
  manifestText,
  measurement,
  outcomeOf,
  signText,
  SWID,
} from './made-manifest.ts';
import type { SignatureEdits, SignerChain } from './made-manifest.ts';

let chain: SignerChain;
let signed: string;
beforeAll(async () => {
  chain = await makeChain();
  signed = signText(manifestText(), chain);
});

const EVIL = measurement(7, true, [digestOf(0xee)]);
const outcome = (text: string): Promise<string> => outcomeOf(text, inputsOf(chain));
const resigned = (edits: SignatureEdits): Promise<string> => outcome(signText(manifestText(), chain, edits));
/** The signature element of the signed manifest, and the manifest around it. */
const signatureOf = (text: string): string => /<ds:Signature .*<\/ds:Signature>/s.exec(text)?.[0] ?? '';

describe('the signature of a manifest', () => {
  it('accepts the one form', async () => {
    expect(await outcome(signed)).toBe('accepted');
  });

  it('NR-9: a second, moved or missing signature is refused', async () => {
    const signature = signatureOf(signed);
    const without = signed.replace(signature, '');
    const texts = [
      without,
      signed.replace(signature, signature + signature),
      without.replace('<ns0:Entity', `${signature}<ns0:Entity`),
      without.replace('<ns0:Payload>', `<ns0:Payload>${signature}`),
      signed.replace('<ns0:Payload>', `<ns0:Payload>${signature}`),
      signed.replace('</ds:X509Data>', `</ds:X509Data>${signature}`),
    ];
    for (const text of texts) expect(await outcome(text)).toBe('rim-one-signature');
  });

  it('NR-9: a signature around the manifest is none', async () => {
    const whole = signatureOf(signed).replace(
      '</ds:Signature>',
      `<ds:Object>${manifestText()}</ds:Object></ds:Signature>`,
    );
    expect(await outcome(whole)).toBe('rim-one-signature');
  });

  it('NR-14: a manifest that was signed does not carry another that was not', async () => {
    const evil = manifestText({ resources: [EVIL] });
    const signature = signatureOf(signed);
    const inner = signed.replace(signature, '');
    const wrap = (text: string, insert: string): string =>
      text.replace('</SoftwareIdentity>', `${insert}</SoftwareIdentity>`);
    // The forms of McIntosh and Austel: the signed document moved into, before and behind a forged one.
    expect(await outcome(wrap(evil, inner + signature))).toBe('rim-element');
    expect(await outcome(wrap(evil, signature))).toBe('rim-digest');
    expect(await outcome(wrap(inner, evil + signature))).toBe('rim-element');
    const inObject = signature.replace('</ds:Signature>', `<ds:Object>${inner}</ds:Object></ds:Signature>`);
    expect(await outcome(wrap(evil, inObject))).toBe('rim-signature-shape');
    expect(await outcome(`${signed}${evil}`)).toBe('rim-xml');
  });

  it('NR-14: a second payload, and resources outside of the payload, are refused', async () => {
    const payload = `<ns0:Payload>${EVIL}</ns0:Payload>`;
    const unsigned = [
      signed.replace('<ns0:Payload>', `${payload}<ns0:Payload>`),
      signed.replace('<ds:Signature', `${payload}<ds:Signature`),
      signed.replace('</ns0:Payload>', `</ns0:Payload>${EVIL}`),
      signed.replace(
        'name="Measurement_7" size="48"/>',
        `name="Measurement_7" size="48">${EVIL}</ns0:Resource>`,
      ),
    ];
    for (const text of unsigned) expect(await outcome(text)).toBe('rim-element');
    // Signed or not: two readers could take two payloads for the one.
    const twice = manifestText().replace('</SoftwareIdentity>', `${payload}</SoftwareIdentity>`);
    expect(await outcome(signText(twice, chain))).toBe('rim-element');
  });

  it.each([
    [
      'a key beside the certificates',
      '<ds:X509Data>',
      '<ds:KeyValue><ds:ECKeyValue/></ds:KeyValue><ds:X509Data>',
    ],
    ['a key behind the certificates', '</ds:X509Data>', '</ds:X509Data><ds:KeyValue/>'],
    ['a key in place of the certificates', /<ds:X509Data>.*<\/ds:X509Data>/s, '<ds:KeyValue/>'],
    ['the name of a key', '<ds:X509Data>', '<ds:KeyName>k</ds:KeyName><ds:X509Data>'],
    ['where to find a key', '<ds:X509Data>', '<ds:RetrievalMethod URI="http://example.org/k"/><ds:X509Data>'],
    ['second certificates', '</ds:X509Data>', '</ds:X509Data><ds:X509Data/>'],
    [
      'a subject beside the certificates',
      '<ds:X509Certificate>',
      '<ds:X509SubjectName>x</ds:X509SubjectName><ds:X509Certificate>',
    ],
    ['an object', '</ds:KeyInfo>', `</ds:KeyInfo><ds:Object><ns0:Payload>${EVIL}</ns0:Payload></ds:Object>`],
    ['a second SignedInfo', '<ds:SignatureValue>', '<ds:SignedInfo/><ds:SignatureValue>'],
    ['a second value', '<ds:KeyInfo>', '<ds:SignatureValue/><ds:KeyInfo>'],
    ['elements in a value', '</ds:SignatureValue>', '<ds:X509Data/></ds:SignatureValue>'],
    ['an identifier', '<ds:Signature ', '<ds:Signature Id="a" '],
    ['an identifier of the value', '<ds:SignatureValue>', '<ds:SignatureValue Id="a">'],
    ['an attribute of a certificate', '<ds:X509Certificate>', '<ds:X509Certificate ns2:Hash0="00">'],
    ['an element of the manifest', '</ds:KeyInfo>', `</ds:KeyInfo>${EVIL}`],
    ['a value that is too short', /(<ds:SignatureValue>).{128}/, '$1AAAA'],
  ])('NR-10: %s is refused', (_, from, to) => {
    const changed = signed.replace(from, to);
    expect(changed).not.toBe(signed);
    expect(['rim-signature-shape', 'rim-xml-forbidden']).toContain(
      refusalCode(() => readRim(toUtf8(changed))),
    );
  });

  it('NR-10: comments in what is read of a signature are refused', async () => {
    for (const name of ['DigestValue', 'SignatureValue', 'X509Certificate']) {
      const commented = signed.replace(`<ds:${name}>`, `<ds:${name}><!-- x -->`);
      expect(await outcome(commented)).toBe('rim-xml-forbidden');
    }
    const between = signed.replace('<ds:SignatureValue>', '<!-- x --><ds:SignatureValue>');
    expect(await outcome(between)).toBe('accepted');
  });

  it('NR-10: three or five certificates are refused', async () => {
    const [signer, lower, upper, root] = chain;
    for (const certificates of [[signer, lower, upper], [signer, lower, upper, root, root], []]) {
      const text = signText(manifestText(), [signer, ...certificates.slice(1)]);
      const bare =
        certificates.length === 0
          ? signed.replace(/<ds:X509Certificate>.*<\/ds:X509Certificate>/s, '')
          : text;
      expect(await outcome(bare)).toBe('rim-chain-length');
    }
  });

  const MORE = 'http://www.w3.org/2001/04/xmldsig-more#';
  const C14N = 'http://www.w3.org/2006/12/xml-c14n11';
  it.each([
    ['digest SHA-1', `DigestMethod Algorithm="${MORE}sha384"`, `DigestMethod Algorithm="${DS}sha1"`],
    ['digest SHA-256', `${MORE}sha384"`, 'http://www.w3.org/2001/04/xmlenc#sha256"'],
    ['an HMAC', `${MORE}ecdsa-sha384`, `${DS}hmac-sha1`],
    ['ECDSA with SHA-1', `${MORE}ecdsa-sha384`, `${MORE}ecdsa-sha1`],
    ['RSA', `${MORE}ecdsa-sha384`, `${MORE}rsa-sha384`],
    [
      'canonical form with comments',
      `CanonicalizationMethod Algorithm="${C14N}"`,
      `CanonicalizationMethod Algorithm="${C14N}#WithComments"`,
    ],
    [
      'exclusive canonical form',
      `CanonicalizationMethod Algorithm="${C14N}"`,
      'CanonicalizationMethod Algorithm="http://www.w3.org/2001/10/xml-exc-c14n#"',
    ],
    ['a transform by XPath', `${DS}enveloped-signature`, 'http://www.w3.org/TR/1999/REC-xpath-19991116'],
    [
      'a transform by XSLT',
      `Transform Algorithm="${C14N}"`,
      'Transform Algorithm="http://www.w3.org/TR/1999/REC-xslt-19991116"',
    ],
    ['a reference to an identifier', 'URI=""', 'URI="#a"'],
    ['a reference to a file', 'URI=""', 'URI="http://example.org/rim.xml"'],
    ['a reference by XPointer', 'URI=""', 'URI="#xpointer(/)"'],
  ])('NR-11: %s is refused, though it is signed', async (_, from, to) => {
    expect(await resigned({ signedInfo: (text) => text.replace(from, to) })).toBe('rim-algorithm');
  });

  const enveloped = `<ds:Transform Algorithm="${DS}enveloped-signature"/>`;
  const canonical = `<ds:Transform Algorithm="${C14N}"/>`;
  it.each([
    ['one transform', canonical, '', 'rim-signature-shape'],
    ['none', /<ds:Transforms>.*<\/ds:Transforms>/, '', 'rim-signature-shape'],
    ['three transforms', canonical, canonical + canonical, 'rim-signature-shape'],
    ['the other order', enveloped + canonical, canonical + enveloped, 'rim-algorithm'],
    [
      'parameters of a transform',
      canonical,
      canonical.replace('/>', '><ds:XPath>1</ds:XPath></ds:Transform>'),
      'rim-signature-shape',
    ],
    [
      'the length of an HMAC',
      /(SignatureMethod Algorithm="[^"]*")\/>/,
      '$1><ds:HMACOutputLength>0</ds:HMACOutputLength></ds:SignatureMethod>',
      'rim-signature-shape',
    ],
    ['a second reference', /(<ds:Reference .*<\/ds:Reference>)/, '$1$1', 'rim-signature-shape'],
    ['a reference of a type', 'URI=""', `URI="" Type="${DS}Object"`, 'rim-signature-shape'],
    ['a reference with an identifier', 'URI=""', 'URI="" Id="a"', 'rim-signature-shape'],
    ['a reference without URI', ' URI=""', '', 'rim-signature-shape'],
    ['a short digest', /<ds:DigestValue>.{64}/, '<ds:DigestValue>AAAA', 'rim-signature-shape'],
    ['another base64', /(<ds:DigestValue>.*)<\/ds:DigestValue>/, '$1=</ds:DigestValue>', 'base64-malformed'],
    ['white space, which is signed with it', '<ds:SignatureMethod', '\n <ds:SignatureMethod', 'accepted'],
  ])('NR-11: %s', async (_, from, to, expected) => {
    expect(await resigned({ signedInfo: (text) => text.replace(from, to) })).toBe(expected);
  });

  it('NR-12, NR-13: nothing of the content or of SignedInfo can be changed', async () => {
    expect(await outcome(signed.replace(digestOf(7), digestOf(8)))).toBe('rim-digest');
    expect(await outcome(signed.replace('<ns0:Payload>', '\n<ns0:Payload>'))).toBe('rim-digest');
    expect(await outcome(signed.replace('xmlns:ns0', `xmlns:extra="${SWID}" xmlns:ns0`))).toBe('rim-digest');
    expect(await outcome(signed.replace('<ds:SignatureMethod', '\n<ds:SignatureMethod'))).toBe(
      'rim-signature',
    );
    const other = signText(manifestText({ version: '1.2.3' }), chain);
    expect(await outcome(signed.replace(signatureOf(signed), signatureOf(other)))).toBe('rim-digest');
    expect(await outcome(other)).toBe('accepted');
  });

  it('NR-12: a prefix that is bound to another namespace changes what was signed', async () => {
    const rebound = signed.replace('<ns0:Payload>', `<ns0:Payload xmlns:ns2="${SWID}">`);
    expect(await outcome(rebound)).toBe('rim-attribute');
    const renamed = signed
      .replace('<ns0:Payload>', '<p:Payload xmlns:p="' + SWID + '">')
      .replace('</ns0:Payload>', '</p:Payload>');
    expect(await outcome(renamed)).toBe('rim-digest');
    expect(await outcome(signed.replaceAll('ds:', 'dsig:').replace('xmlns:ds', 'xmlns:dsig'))).toBe(
      'rim-signature',
    );
  });

  it('NR-13: the canonical SignedInfo carries the namespaces around it', async () => {
    const { signature } = readRim(toUtf8(signed));
    expect(Buffer.from(signature.signedInfo).toString()).toMatch(
      new RegExp(
        `^<ds:SignedInfo xmlns="${SWID}" xmlns:ds="${DS}" xmlns:ns0="${SWID}" xmlns:ns2="[^"]+" xmlns:ns3="[^"]+"><`,
      ),
    );
    const added = signed.replace('<ds:Signature ', `<ds:Signature xmlns:extra="${SWID}" `);
    expect(await outcome(added)).toBe('rim-signature');
  });
});
