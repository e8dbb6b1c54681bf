import { describe, expect, it } from 'vitest';

import {
  checkToken,
  fileAddress,
  followRedirect,
  isAddress,
  isLoopback,
  parseAddress,
} from '../../../src/sealed/source/address.ts';
import { refusalCode } from '../../support/refusal-code.ts';

const url = (text: string): URL => new URL(text);

describe('addresses of mirrors', () => {
  it('SW-33: are http and https without user, query and fragment', () => {
    for (const text of ['https://h', 'http://h:81/a/b/', 'HTTPS://h/%20']) {
      expect(isAddress(text)).toBe(true);
      expect(
        refusalCode(() => parseAddress(text)),
        text,
      ).toBe('accepted');
    }
    for (const text of [
      'ftp://h/a',
      'https://u@h/a',
      'https://:p@h/a',
      'https://h/?',
      'https://h/a?b',
      'https://h/#',
    ]) {
      expect(isAddress(text)).toBe(true);
      expect(
        refusalCode(() => parseAddress(text)),
        text,
      ).toBe('source-address');
    }
    for (const text of ['bundle', './a', '/srv/http:/x', 'C:/x']) expect(isAddress(text), text).toBe(false);
  });

  it('SW-33: never show the password that was written into one', () => {
    expect(() => parseAddress('https://u:secret@h/a')).toThrow(/^(?!.*secret)/);
  });

  it('SW-33: every byte of a path that is not unreserved is percent-encoded, and slashes divide', () => {
    const base = url('https://hub/lab/model/resolve/main/');
    expect(fileAddress(base, "w/größe #1 (a)?&'*!.bin").href).toBe(
      'https://hub/lab/model/resolve/main/w/gr%C3%B6%C3%9Fe%20%231%20%28a%29%3F%26%27%2A%21.bin',
    );
    expect(fileAddress(url('http://h'), 'a-._~%2e%2e').href).toBe('http://h/a-._~%252e%252e');
    expect(fileAddress(base, '...').pathname).toBe('/lab/model/resolve/main/...');
  });

  it('SW-39: a token goes over https, or to this machine, and is of printable characters', () => {
    expect(
      refusalCode(() => {
        checkToken(url('https://h'), 'hf_x');
      }),
    ).toBe('accepted');
    expect(
      refusalCode(() => {
        checkToken(url('http://[::1]:8'), 'hf_x');
      }),
    ).toBe('accepted');
    expect(
      refusalCode(() => {
        checkToken(url('http://h'), 'hf_x');
      }),
    ).toBe('source-credential');
    for (const token of ['', 'a b', 'a\r\nx: y', 'ü', 'x'.repeat(5000)]) {
      expect(
        refusalCode(() => {
          checkToken(url('https://h'), token);
        }),
      ).toBe('source-credential');
    }
  });

  it('knows this machine', () => {
    for (const host of [
      'localhost',
      'a.localhost',
      '127.0.0.1',
      '127.9.9.9',
      '[::1]',
      '[::ffff:127.0.0.1]',
      '0x7f.1',
      '0.0.0.0',
      '[::]',
      '[::ffff:0.0.0.0]',
    ]) {
      expect(isLoopback(url(`http://${host}/`)), host).toBe(true);
    }
    for (const host of ['h', 'localhost.evil', '127.evil', '128.0.0.1', '[::2]', '[fe80::1]']) {
      expect(isLoopback(url(`http://${host}/`)), host).toBe(false);
    }
  });

  it('SW-38: redirections lead to nowhere less safe', () => {
    const follow = (from: string, to: string): string => refusalCode(() => followRedirect(url(from), to));
    expect(followRedirect(url('https://h/a/b'), '../c').href).toBe('https://h/c');
    expect(followRedirect(url('https://h/a'), '//cdn/x?signed').href).toBe('https://cdn/x?signed');
    expect(follow('http://h', 'http://other')).toBe('accepted');
    expect(follow('http://h', 'https://other')).toBe('accepted');
    expect(follow('https://localhost', 'http://127.0.0.1:1')).toBe('accepted');
    for (const [from, to] of [
      ['https://h', 'http://h'],
      ['https://localhost', 'http://h'],
      ['https://h', 'https://localhost/'],
      ['http://h', 'http://[::1]/'],
      ['https://h', 'https://u:p@h/'],
      ['https://h', 'file:///etc/passwd'],
      ['https://h', 'data:,x'],
      ['https://h', 'https://'],
    ] as const) {
      expect(follow(from, to), `${from} to ${to}`).toBe('source-redirect');
    }
  });
});
