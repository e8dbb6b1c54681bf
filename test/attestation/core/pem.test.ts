import { describe, expect, it } from 'vitest';

import { toUtf8 } from '../../../attestation/core/bytes.ts';
import { looksLikePem, readPem, writePem } from '../../../attestation/core/pem.ts';
import { refusalOf } from '../../support/refusal-code.ts';

const CONTENT = Uint8Array.from({ length: 100 }, (_, i) => i);
const TEXT = new TextDecoder().decode(writePem(CONTENT, 'CERTIFICATE'));
const read = (text: string): Uint8Array => readPem(toUtf8(text), 'CERTIFICATE', 'chain[0]');

describe('PEM', () => {
  it('EV-12: is one block with lines of 64 characters', () => {
    const lines = TEXT.split('\n');
    expect(lines.map(({ length }) => length)).toEqual([27, 64, 64, 8, 25, 0]);
    expect(lines.at(0)).toBe('-----BEGIN CERTIFICATE-----');
    expect(lines.at(-2)).toBe('-----END CERTIFICATE-----');
    expect(read(TEXT)).toEqual(CONTENT);
    expect(readPem(writePem(new Uint8Array(0), 'X'), 'X', 'x')).toEqual(new Uint8Array(0));
  });

  it('EV-12: may end without a line feed, and have lines of two characters at their ends', () => {
    expect(read(TEXT.trimEnd())).toEqual(CONTENT);
    expect(read(TEXT.replaceAll('\n', '\r\n'))).toEqual(CONTENT);
  });

  it.each([
    ['nothing', ''],
    ['one line', TEXT.split('\n')[0] ?? ''],
    ['text before it', `text\n${TEXT}`],
    ['a space before it', ` ${TEXT}`],
    ['text behind it', `${TEXT}text`],
    ['a second line feed', `${TEXT}\n`],
    ['two blocks', TEXT + TEXT],
    ['an empty line', TEXT.replace('\n', '\n\n')],
    ['another label', TEXT.replaceAll('CERTIFICATE', 'KEY')],
    ['another label at its end', TEXT.replace('END CERTIFICATE', 'END KEY')],
    ['another label at its start', TEXT.replace('BEGIN CERTIFICATE', 'BEGIN KEY')],
    ['no end', TEXT.replace(/-----END.*\n/, '')],
  ])('EV-12: with %s is refused', (_, text) => {
    expect(refusalOf(() => read(text))).toMatchObject({
      code: 'pem-malformed',
      field: 'chain[0]',
      expected: 'one block labelled CERTIFICATE',
    });
  });

  it('EV-12: shows its first and last line when it is refused', () => {
    expect(refusalOf(() => read('a\nb\nc\n')).found).toBe('a ? c');
    expect(refusalOf(() => read('a')).found).toBe('a ? ');
  });

  it('EV-12: with headers or other characters is refused', () => {
    const withHeader = TEXT.replace('\n', '\nProc-Type: 4\n');
    expect(refusalOf(() => read(withHeader))).toMatchObject({ code: 'base64-malformed', field: 'chain[0]' });
    expect(refusalOf(() => readPem(Uint8Array.of(0xff), 'X', 'x')).code).toBe('utf8-malformed');
  });

  it('is told from DER by how it begins', () => {
    expect(looksLikePem(toUtf8(TEXT))).toBe(true);
    expect(looksLikePem(toUtf8('-----BEGIN '))).toBe(true);
    expect(looksLikePem(toUtf8('-----BEGIN'))).toBe(false);
    expect(looksLikePem(Uint8Array.of(0x30, 0x82))).toBe(false);
  });
});
