import { parseNbdUri } from '@openservice/nbd';
import { expect } from 'chai';

describe('NBD URIs', () => {
  it('are read as the standard says', () => {
    const tcp = (host: string, port = 10809) => ({ host, port });
    const cases: [string, object, string, string | null][] = [
      ['nbd://example.com/disk', tcp('example.com'), 'disk', null],
      ['nbd://example.com', tcp('example.com'), '', null],
      ['nbd://example.com//disk', tcp('example.com'), '/disk', null],
      ['nbd://example.com:1234/hello%20world', tcp('example.com', 1234), 'hello world', null],
      ['nbd://[::1]:99/', tcp('::1', 99), '', null],
      ['nbds://example.com/', tcp('example.com'), '', 'example.com'],
      ['nbds://10.0.0.1/?tls-hostname=store', tcp('10.0.0.1'), '', 'store'],
      ['nbd+unix:///disk?socket=/run/a%20b.sock', { path: '/run/a b.sock' }, 'disk', null],
      ['nbds+unix:///?socket=/run/s&tls-hostname=store', { path: '/run/s' }, '', 'store'],
    ];
    for (const [uri, socket, exportName, tlsName] of cases) {
      expect(parseNbdUri(uri), uri).to.deep.equal({ socket, exportName, tlsName });
    }
  });

  it('are refused where they cannot be meant', () => {
    for (const uri of [
      'disk',
      'http://example.com/',
      'nbd:///disk',
      'nbd+unix:///disk',
      'nbd+unix:///disk?socket=relative',
      'nbd+unix://host/disk?socket=/s',
      'nbds+unix:///?socket=/s',
      'nbd://example.com/?tls-verify-peer=0',
      'nbd://user@example.com/',
      'nbd://example.com/%zz',
      'nbd://example.com/a%00b',
    ]) {
      expect(() => parseNbdUri(uri), uri)
        .to.throw()
        .with.property('code', 'bad_nbd_uri');
    }
  });
});
