# The Ruby loader by itself: this test is its core. RUBY names another interpreter. Rack is that of the system, and one of ours that says it is 3.
use strict;
use warnings;
use lib 't/lib';
use Cwd qw(abs_path);
use IO::Select;
use POSIX qw(:sys_wait_h);
use Socket qw(SHUT_WR);
use Test::More;
use Loader;

my $ruby = $ENV{RUBY} // '/usr/bin/ruby';
plan skip_all => "$ruby is not there" unless -x $ruby;
my $loader = abs_path('helper/loaders/rack-loader.rb');
my $shapes = abs_path('t/apps/rack-shapes');
my $limit = 20;
Loader::use($ruby, $loader, $shapes, 'config.ru');
my $hello = "run lambda { |env| [200, { 'content-type' => 'text/plain' }, [\"hello world\\n\"]] }\n";

# All that the loader may want of a Rack.
mkdir "$top/rack3";
write_file("$top/rack3/rack.rb", <<'END');
module Rack
  RELEASE = '3.1.0'
  class Builder
    def self.parse_file(path)
      builder = new
      scope = TOPLEVEL_BINDING.eval('lambda { |builder| builder.instance_eval { binding } }').call(builder)
      eval(File.read(path), scope, path)
      builder.app
    end
    attr_reader :app
    def run(app)
      @app = app
    end
  end
end
END
my %rack3 = (env => { RUBYLIB => "$top/rack3" });

sub write_file { my ($path, $text) = @_; open my $fh, '>', $path or die "$path: $!"; print $fh $text; close $fh }

is system($ruby, '-wc', '-e', 'exit', $loader), 0, 'the interpreter runs';
unlike `for f in helper/loaders/*.rb \$(find helper/loaders/ruby -name '*.rb'); do $ruby -wc \$f; done 2>&1`, qr/warning|rror/, 'neither the loader nor what is beside it has warnings';

# The start, and what a process is given

$app = start(ignore => [qw(HUP USR1 TERM INT)], keys => [ 'process_title: Passenger RubyApp', 'app_group_name: /srv/shop (production)' ]);
my $r = ask('/process');
is $r->{status}, 200, 'the application answers';
my %fact = $r->{body} =~ /^(\w+)=(.*)$/mg;
is $fact{before}, '[]', 'no gem was loaded before the application';
is $fact{locals}, '[]', 'the main program has no variables of ours';
is $fact{methods}, 'false', 'and no methods';
is $fact{program}, '"Passenger RubyApp: /srv/shop (production)"', 'the title of the process';
is $fact{stdin}, '""', 'standard input is empty';
is $fact{cwd}, "\"$shapes\"", 'it works in its folder';
is $fact{file}, "\"$shapes/config.ru\"", '__FILE__ is absolute';
is $fact{inheritable}, '[]', 'no descriptor above 2 is for children';
is $fact{int}, 'Proc', 'an interrupt is caught';
is $fact{hup}, 'Proc', 'so is the end of a terminal';
is $fact{usr1}, '"DEFAULT"', 'ignored signals are reset';
is $fact{sync}, '[true, true]', 'output is not buffered';
is $fact{events}, '["starting_worker_process(false)", "after_installing_signal_handlers", "starting_request_handler_thread"]', 'events, in order';
is $fact{thread}, 'true', 'the application runs in the main thread';
like $fact{version}, qr/^[1-9]/, 'PhusionPassenger::VERSION_STRING is a number';
is $fact{options}, '"/srv/shop (production)"', 'PhusionPassenger::App.options tells how it was started';

# env

$r = ask('/show?a=b', PATH_INFO => '/show', HTTP_X_EMPTY => '', HTTP_X_LATIN => "caf\xe9", HTTP_X_LONG => 'l' x 131072, CONTENT_TYPE => 'text/x',
    'HTTP_X=Y' => '=', HTTP_VERSION => 'a lie', SERVER_PROTOCOL => 'HTTP/2.0', map { ("HTTP_MANY_$_" => $_) } 1 .. 600);
is $r->{status}, 200, 'a large head';
for my $line ('HTTP_X_EMPTY=""', q{HTTP_X_LATIN="caf\xE9"}, 'HTTP_X=Y="="', 'QUERY_STRING="a=b"', 'CONTENT_TYPE="text/x"', 'PATH_INFO="/show"', 'SCRIPT_NAME=""',
    'HTTP_VERSION="HTTP/2.0"', 'rack.url_scheme="http"', 'rack.version=[1, 3]', 'rack.multithread=false', 'rack.multiprocess=true', 'rack.run_once=false',
    'rack.hijack?=true', 'rack.after_reply=[]', 'HTTP_MANY_600="600"') {
    ok index("\n$r->{body}", "\n$line\n") >= 0, "env has $line" or diag substr $r->{body}, 0, 2000;
}
like $r->{body}, qr/^HTTP_X_LONG="(?:l{4096}){32}"$/m, 'a value of 128 KiB arrives whole';
unlike ask('/show', HTTP_TRANSFER_ENCODING => 'chunked', body => $_)->{body}, qr/TRANSFER_ENCODING/, 'a body whose length is known has no chunks any more' for '', 'x';
like ask('/show', HTTPS => $_)->{body}, qr/^rack\.url_scheme="https"$/m, "HTTPS=$_ is https" for qw(on ON 1 true yes);
like ask('/show', HTTPS => $_)->{body}, qr/^rack\.url_scheme="http"$/m, "HTTPS=$_ is not" for 'off', '';
is_answer(ask('/linted', REQUEST_METHOD => $_->[0], body => $_->[1]), 200, $_->[0] eq 'HEAD' ? '' : "$_->[0] " . ($_->[1] // ''), $_->[2],
    "Rack::Lint finds no fault: $_->[0]") for ['GET', undef, 'chunked'], ['POST', 'x', 'chunked'], ['PUT', 'y' x 100_000, 'chunked'], ['HEAD', undef, 'none'],
    ['DELETE', '', 'chunked'], ['PATCH', 'z', 'chunked'];
ok wait_log($app, qr/^linted\n/m), 'rack.errors is the log';
forget($app);

# Responses

sub usual {
    my ($rack) = @_;
    is_answer(ask('/hello'), 200, "hello world\n", 'length', "$rack: a list of one block has a length");
    is_answer(ask('/blocks?'), 200, '', 'length', "$rack: an empty list is an empty body");
    is_answer(ask('/blocks?one,two,,three'), 200, 'onetwothree', 'length', "$rack: several blocks");
    is_answer(ask('/many'), 200, 'ab' x 2000, 'length', "$rack: very many blocks");
    is_answer(ask('/listed'), 200, 'ab', 'length', "$rack: to_ary has a length");
    is_answer(ask('/unlisted'), 200, 'ab', 'chunked', "$rack: to_ary that gives nothing");
    is_answer(ask('/closing'), 200, 'ab', 'chunked', "$rack: each is chunked");
    is_answer(ask('/nothing'), 200, '', 'length', "$rack: each without a block");
    for my $size (32767, 1000001) { is_answer(ask("/big?$size"), 200, 'x' x $size, 'length', "$rack: a body of $size bytes") }
    is_ahead('/big?1000000', "$rack: the system takes much of it before anybody reads");
    $r = ask('/good_headers');
    is_answer($r, 200, 'fine', 'length', "$rack: headers of every good kind");
    is $r->{head}, "HTTP/1.1 200 \r\nx-one: a\r\nx-many: b\r\nx-many: c\r\nset-cookie: d=1\r\nset-cookie: e=2\r\nx-tab: a\tb\r\nx-empty: \r\nx-number: 5\r\n"
        . "Content-Length: 4\r\n", '... keep order and letters; those of one hop are dropped';
    $r = ask('/bytes');
    is_answer($r, 200, "caf\xe9 na\xc3\xafve d\xe9j\xe0", 'length', "$rack: blocks of several encodings");
    like $r->{head}, qr/^x-latin: caf\xe9\r\nx-utf: na\xc3\xafve\r$/m, '... and headers';
    is_answer(ask('/hello', REQUEST_METHOD => 'HEAD'), 200, '', 'length', "$rack: HEAD: the length without the body");
    is_answer(ask('/closing', REQUEST_METHOD => 'HEAD'), 200, '', 'none', "$rack: HEAD of unknown length");
    is_answer(ask('/blocks?', REQUEST_METHOD => 'HEAD'), 200, '', 'none', "$rack: HEAD: an empty list does not say that the body is empty");
    is_answer(ask('/endless', REQUEST_METHOD => 'HEAD'), 200, '', 'none', "$rack: HEAD: an endless body is not asked for");
    is_answer(ask("/status?$_"), $_, '', 'none', "$rack: $_: neither body nor framing") for 204, 304;
    is_answer(ask('/status?404'), 404, 'body', 'chunked', "$rack: another status");
    is_answer(ask('/status?299 Own'), 299, 'body', 'chunked', "$rack: a status that begins with a number");
    $r = ask('/coded');
    is_answer($r, 200, 'abc', 'chunked', "$rack: a body that the application framed");
    undef $link;
    is_answer(ask('/hello'), 200, "hello world\n", 'length', "$rack: the next request");

    # Files

    my $text = "a text of thirty-two characters\n";
    is_answer(ask('/file'), 200, $text, 'length', "$rack: to_path");
    is_answer(ask('/file', REQUEST_METHOD => 'HEAD'), 200, '', 'length', "$rack: to_path: HEAD");
    is_answer(ask('/file?6'), 200, 'a text', 'length', "$rack: a file that is longer than declared");
    is_answer(ask("/file?$_"), 200, 'from each', 'chunked', "$rack: to_path that cannot be used: $_") for qw(missing folder);
    $r = ask('/file?40');
    ok !$r->{whole} && $r->{closed}, "$rack: a file that is shorter than declared";
}
usual('Rack 2');

forget($app);
is ask("/status?$_")->{status}, 500, "not a final status: $_" for 100, 103, 20, 'abc', 2000, '';
is ask("/headers?$_")->{status}, 500, "a wrong header: $_" for qw(return nul escape wide name colon line empty length nil);
is ask("/result?$_")->{status}, 500, "a wrong result: $_" for qw(nil string two body nobody blocks symbol);
drain($app);
like $app->{log}, qr/rack-loader: an exception while serving GET \/result:\nTypeError|the application returned NilClass/, 'the log says what is wrong';
unlike $app->{log}, qr/rack-loader\.rb:\d/, 'and nothing of our frames';

# Content-Length and what was sent

for my $route (qw(/declared /declared_list)) {
    forget($app);
    is_answer(ask("$route?4,ab,cd"), 200, 'abcd', 'length', "$route: a length that is right");
    is_answer(ask("$route?3,ab,cd,ef"), 200, 'abc', 'length', "$route: too much is cut");
    ok wait_log($app, qr/\Arack-loader: the body is longer than its Content-Length of 3: cut\n\z/), '... and logged once';
    is_answer(ask('/hello'), 200, "hello world\n", 'length', '... and the connection stays');
    $r = ask("$route?9,ab,cd");
    ok !$r->{whole} && $r->{closed} && $r->{body} eq 'abcd', "$route: too little ends with the connection";
    ok wait_log($app, qr/5 bytes shorter than its Content-Length of 9/), '... and is logged';
    $r = ask("$route?9");
    ok !$r->{whole} && $r->{closed}, "$route: so does nothing at all";
}

# Exceptions

for my $where (qw(call exit interrupt throw stack first)) {
    forget($app);
    $r = ask("/fails?$where");
    is_answer($r, 500, "Internal Server Error\n", 'length', "an exception before the first byte: $where");
    ok wait_log($app, { call => qr/config\.ru:\d+:in \S+: secret detail \(RuntimeError\)\n\tfrom /, exit => qr/\(SystemExit\)/, interrupt => qr/\(Interrupt\)/,
        throw => qr/uncaught throw :nobody/, stack => qr/\(SystemStackError\)/, first => qr/secret detail/ }->{$where}), 'the log has' or diag $app->{log};
}
is_answer(ask('/fails?call', REQUEST_METHOD => 'HEAD'), 500, '', 'length', 'the error page for HEAD');
$r = ask('/fails?middle');
ok !$r->{whole} && $r->{closed} && $r->{body} eq 'begun', 'an exception in the middle cuts the response';
forget($app);
is_answer(ask('/fails?close'), 200, 'x', 'chunked', 'an exception in close() spoils nothing');
ok wait_log($app, qr/an exception in close\(\):\n\S+config\.ru:\d+:in \S+ close\(\) failed/), 'and is logged';

# close(), exactly once

sub closes { return ask('/closes')->{body} }
for my $case (['/closing'], ['/closing', REQUEST_METHOD => 'HEAD'], ['/nothing'], ['/listed'], ['/status?304'], ['/status?99'], ['/fails?middle'], ['/fails?first'],
    ['/fails?close'], ['/declared?9,a'], ['/declared?1,ab,c'], ['/endless', REQUEST_METHOD => 'HEAD'], ['/file'], ['/file', REQUEST_METHOD => 'HEAD'],
    ['/file?40'], ['/stream?plain'], ['/stream?plain', REQUEST_METHOD => 'HEAD'], ['/stream?raise']) {
    my $before = closes();
    ask(@$case);
    is closes() - $before, 1, "close() is called once: @$case";
}
my $before = closes();
forget($app);
my $gone = link_to($app);
put($gone, pairs('/endless'));
sysread $gone, my $some, 20000;
close $gone;
is closes() - $before, 1, 'close() is called once: the client left';
is_answer(ask('/prints'), 200, "hello world\n", 'length', 'printing whatever');
ok wait_log($app, qr/no newline\n/), 'prints come out';
is $app->{log}, "a line\nerrors\nno newline\n", 'a client that left is no news';

# Request bodies

my $large = join '', map { sprintf "%09d\n", $_ } 1 .. 50000;
my $larger = $large x 5;

sub bodies {
    my ($rack) = @_;
    is_answer(ask('/reads?none', @$_), 200, '["", nil, nil, []]', 'length', "$rack: no body: at its end at once") for [], [REQUEST_METHOD => 'POST', body => ''];
    for my $late (0, 1) {
        my $send = sub {
            my ($path, $body) = @_;
            return ask($path, body => $body) unless $late;
            $link = link_to($app) unless $link;
            put($link, pairs($path, CONTENT_LENGTH => length $body));
            put($link, substr $body, 0, 2);
            put($link, substr $body, 2);
            return answer($link);
        };
        my $when = "$rack, " . ($late ? 'a body in parts' : 'a body at once');
        is_answer($send->('/reads?lines', "a\nb\n\nc"), 200, '["a\n", "b\n", "\n", "c", nil]', 'length', "$when: gets");
        is_answer($send->('/reads?each', "a\nb"), 200, '["a\n", "b"]', 'length', "$when: each");
        is_answer($send->('/reads?some', 'abcdef'), 200, '["abc", "", "def", nil, ""]', 'length', "$when: read(n) stops at the end");
        is_answer($send->('/reads?buffer', 'abcdef'), 200, '[true, "ab", "cdef", "cdef", nil, ""]', 'length', "$when: read(n, buffer)");
        is_answer($send->('/echo', $larger), 200, $larger, 'length', "$when: large");
        is_answer($send->('/reads?count', $larger), 200, '2500000', 'length', "$when: large, counted");
        is_answer($send->('/reads?copied', $large), 200, '[500000, 500000]', 'length', "$when: IO.copy_stream");
        is_answer($send->('/reads?rewind', $_), 200, '["0000", ' . length() . ', true, nil]', 'length', "$when: rewind " . length) for $rack =~ /2/ ? ($large, $larger) : ();
        is_answer($send->('/reads?unread', $large), 200, '"unread"', 'length', "$when: not read");
    }
    is_answer(ask('/hello'), 200, "hello world\n", 'length', "$rack: the rest is skipped, and the connection stays");
    my $l = link_to($app);
    put($l, pairs('/echo', CONTENT_LENGTH => 6));
    for my $part (qw(ab cd ef)) { put($l, $part) }
    is answer($l)->{body}, 'abcdef', "$rack: a body that comes later";
    my $head = pairs('/echo', CONTENT_LENGTH => 4);
    put($l, substr $head, 0, 3);
    put($l, substr $head, 3, 50);
    put($l, substr($head, 53) . 'body' . pairs('/hello'));
    my $text = '';
    while ($text !~ /hello world\n/) { IO::Select->new($l)->can_read($limit) && sysread($l, $text, 4096, length $text) or last }
    like $text, qr{\r\n\r\nbodyHTTP/1\.1 200 \r\n.*hello world\n$}s, "$rack: a head in parts, and the next request right behind";
    my $c = link_to($app);
    put($c, pairs('/echo', HTTP_TRANSFER_ENCODING => 'chunked', REQUEST_METHOD => 'POST') . 'until ');
    put($c, 'the end');
    shutdown $c, SHUT_WR;
    is_answer(answer($c), 200, 'until the end', 'length', "$rack: a body of unknown length ends when the core ends it");
    ok closed($c), '... and so does the connection';
    $c = link_to($app);
    put($c, pairs('/hello', CONTENT_LENGTH => 5 << 20));
    is answer($c)->{status}, 200, "$rack: a body of 5 MiB that nobody wants";
    ok closed($c), '... is not read';
    forget($app);
    for my $path ('/echo', '/reads?count', '/reads?lines') {
        $c = link_to($app);
        put($c, pairs($path, CONTENT_LENGTH => 10) . 'half');
        shutdown $c, SHUT_WR;
        is answer($c)->{status}, 0, "$rack: a body that ends early gets no answer: $path";
    }
    is_answer(ask('/kept_input', body => 'first'), 200, 'first', 'length', "$rack: an input that is kept");
    $l = link_to($app);
    put($l, pairs('/kept_input', CONTENT_LENGTH => 6));
    put($l, 'second');
    is answer($l)->{body}, '', "$rack: ... is over";
    is_answer(ask('/prints'), 200, "hello world\n", 'length', "$rack: the next request is answered");
    wait_log($app, qr/no newline\n/);
    is $app->{log}, "a line\nerrors\nno newline\n", '... and it was no news';
    is_answer(ask('/internal?UTF-8'), 200, "hello world\n", 'length', "$rack: Encoding.default_internal");
    is_answer(ask('/echo', body => "\xe9\xff"), 200, "\xe9\xff", 'length', '... changes no bytes');
    ask('/internal');
}
bodies('Rack 2');

# Streaming

{
    my $fifo = fifo();
    my $l = link_to($app);
    put($l, pairs("/steps?$fifo"));
    my $text = '';
    while ($text !~ /first\n\r\n/) { IO::Select->new($l)->can_read($limit) && sysread($l, $text, 4096, length $text) or last }
    like $text, qr/\r\n\r\n6\r\nfirst\n\r\n$/, 'a block arrives before the next is made';
    let_go($fifo);
    while ($text !~ /\n0\r\n\r\n/) { IO::Select->new($l)->can_read($limit) && sysread($l, $text, 4096, length $text) or last }
    like $text, qr/first\n\r\n7\r\nsecond\n\r\n0\r\n\r\n$/, 'an empty block is no chunk';
}

# Hijacking

sub rest_of {
    my ($l, $text) = ($_[0], '');
    1 while IO::Select->new($l)->can_read($limit) && sysread $l, $text, 65536, length $text;
    return $text;
}

sub hijacks {
    my ($rack) = @_;
    my $before = closes();
    my $l = link_to($app);
    put($l, pairs('/hijack?full') . "what follows\n");
    is rest_of($l), "HTTP/1.1 200 \r\nContent-Length: 8\r\n\r\nhijackedtrue what follows\n", "$rack: full hijack, with what came behind the request";
    is_answer(ask('/hello'), 200, "hello world\n", 'length', '... and other requests are served');
    $l = link_to($app);
    put($l, pairs('/hijack?partial'));
    is rest_of($l), "HTTP/1.1 200 \r\ncontent-type: text/plain\r\nConnection: close\r\n\r\nraw bytes until the end\n", "$rack: partial hijack";
    ok eventually { closes() - $before == 2 } , '... and their bodies were closed';
    $l = link_to($app);
    put($l, pairs('/hijack?upgrade', HTTP_CONNECTION => 'upgrade', HTTP_UPGRADE => 'echo'));
    my $head = '';
    while ($head !~ /\r\n\r\n/) { IO::Select->new($l)->can_read($limit) && sysread($l, $head, 4096, length $head) or last }
    is $head, "HTTP/1.1 101 \r\nConnection: upgrade\r\nUpgrade: echo\r\n!~Holds-Thread: 1\r\n\r\n", "$rack: another protocol";
    put($l, "hello\n");
    is rest_of($l), "echo: hello\n", '... both ways';
    is ask('/hijack?101')->{status}, 500, "$rack: 101 for nothing";
    forget($app);
    $l = link_to($app);
    put($l, pairs('/hijack?raise'));
    unlike rest_of($l), qr/Content-Length|Internal/, "$rack: a hijack that fails is cut";
    ok wait_log($app, qr/in a hijack \(RuntimeError\)/), '... and logged';
    my $fifo = fifo();
    is_answer(ask('/hijack?late', HTTP_X_FIFO => $fifo), 200, 'too late', 'length', "$rack: a hijack after the response");
    let_go($fifo);
    ok wait_log($app, qr/refused: the response has begun/), '... is refused';
    is_answer(ask('/hello'), 200, "hello world\n", 'length', '... and the connection is ours');
}
hijacks('Rack 2');

# After the response

is_answer(ask('/after'), 200, 'x', 'length', 'rack.after_reply');
is ask('/after_said')->{body}, '["replied"]', '... is called';
ok wait_log($app, qr/an exception in rack\.after_reply:\n.*after the reply/), '... and may fail';

# Connections

{
    my @links = map { link_to($app) } 1 .. 20;
    put($_, pairs('/hello')) for @links;
    is scalar(grep { answer($_)->{body} eq "hello world\n" } @links), 20, 'twenty connections';
    put($_, pairs('/hello')) for reverse @links;
    is scalar(grep { answer($_)->{body} eq "hello world\n" } @links), 20, 'which are kept';
    close $_ for @links;
    ok eventually { (my @fds = glob "/proc/$app->{pid}/fd/*") < 16 }, 'and closed with their peers';
    is_answer(ask('/hello'), 200, "hello world\n", 'length', 'the first connection goes on');
}
for my $case (["GET / HTTP/1.1\r\n\r\n", 'HTTP'], ["\0\0\0\0", 'no pairs'], [pack('N', 4) . 'abcd', 'no NUL'], [pack('N', 6) . "a\0b\0c\0", 'an odd count'],
    [pack('N', 4) . "a\0b\0", 'no method'], [pairs('/hello', CONTENT_LENGTH => 'x1'), 'a bad length'], [pairs('/hello', CONTENT_LENGTH => -1), 'a negative length'],
    [pairs('/hello', CONTENT_LENGTH => "1\n"), 'a length and a line end'], [pack('N', 100) . 'a', 'an early end', 1], ["\0\0", 'half a length', 1]) {
    forget($app);
    my $l = link_to($app);
    put($l, $case->[0]);
    shutdown $l, SHUT_WR if $case->[2];
    ok closed($l), "garbage ends the connection: $case->[1]";
    ok wait_log($app, qr/\Arack-loader: dropped a connection: .*\n\z/), 'with one line' or diag $app->{log};
}
is_answer(ask('/hello'), 200, "hello world\n", 'length', 'and only that');

# Children

is_answer(ask("/forks?$_"), 200, "hello world\n", 'length', "fork: $_") for qw(block return raise);
is_answer(ask('/forks?exit'), 200, '3', 'length', 'fork: exit');
is_answer(ask('/forks?system'), 200, "from a shell\n", 'length', 'a shell');
is_answer(ask('/forks?terminate'), 200, '15', 'length', 'a child can be ended by SIGTERM');
my $child = ask('/forks?stays')->{body};
ok alive($child), 'a child may stay';
SKIP: {
    skip 'needs Process._fork', 1 if system($ruby, '-e', 'exit Process.respond_to?(:_fork)') >> 8;
    is scalar(grep { (readlink($_) // '') =~ /^socket:/ } glob "/proc/$child/fd/*"), 0, 'and has none of our sockets';
}
kill KILL => $child;
is_answer(ask('/hello'), 200, "hello world\n", 'length', 'and the server goes on');

# Signals and the end

forget($app);
my $idle = fifo();
ask("/spins?$idle");
ok eventually { kill QUIT => $app->{pid}; wait_log($app, qr/Thread:.*\(main\)\n.*in \S*run.*Thread:.*read_fifo/s, 0.2) }, 'SIGQUIT prints the stacks of all threads' or diag $app->{log};
kill $_ => $app->{pid} for qw(INT HUP);
is_answer(ask('/hello'), 200, "hello world\n", 'length', 'and, like SIGINT and SIGHUP, ends nothing');
let_go($idle);
forget($app);
ask('/reopens');
is ask('/fails?call')->{status}, 500, 'an application that closes its output';
ok defined($r = stop($app)) && $r == 0, 'at the end of standard input it exits 0' or diag $r, $app->{log};
undef $link;

$app = start();
kill TERM => $app->{pid};
is wait_exit($app), 0, 'SIGTERM while idle: exit 0';
like $app->{log}, qr/^stopping_worker_process\nat_exit ran$/m, 'after the event and its at_exit handlers';

sub signal_taken {
    my ($app) = @_;
    return eventually { open my $fh, '<', "/proc/$app->{pid}/status" or return 1; join('', <$fh>) =~ /SigCgt:\s*\w{8}(\w{8})/ && !(hex($1) & (1 << 14)) };
}

for my $how (qw(TERM EOF)) {
    for my $threads (1, 3) {
        $app = start(concurrency => $threads, keys => $threads > 1 ? [ 'concurrency_model: thread', "thread_count: $threads" ] : []);
        my $fifo = fifo();
        $link = link_to($app);
        my $other = link_to($app);
        put($link, pairs("/waits?$fifo"));
        ok wait_log($app, qr/waiting for the fifo/), "$how in flight, $threads threads: it waits";
        put($other, pairs('/hello'));
        if ($how eq 'TERM') { kill TERM => $app->{pid} } else { close $app->{in} }
        # Only when the signal has been taken may the request go on: SigCgt loses it then.
        ok signal_taken($app), 'it has the signal' if $how eq 'TERM';
        let_go($fifo);
        is answer($link)->{body}, 'finished go', 'the request is finished';
        is answer($other)->{body}, "hello world\n", 'and the one that was sent before';
        is wait_exit($app), 0, 'then it exits 0';
        like $app->{log}, qr/was let go\n(.*\n)*at_exit ran/, 'after its at_exit handlers';
    }
}
{
    $app = start();
    my $fifo = fifo();
    $link = link_to($app);
    put($link, pairs("/waits?$fifo"));
    wait_log($app, qr/waiting for the fifo/);
    kill QUIT => $app->{pid};
    ok wait_log($app, qr/\(main\)\n(?: {4}.*\n)*? {4}\S*config\.ru:\d+:in /), 'SIGQUIT shows where a request is';
    kill TERM => $app->{pid};
    signal_taken($app);
    kill TERM => $app->{pid};
    is wait_exit($app) & 127, POSIX::SIGTERM(), 'a second SIGTERM ends it at once';
    $app = start();
    kill ABRT => $app->{pid};
    is wait_exit($app) & 127, POSIX::SIGABRT(), 'SIGABRT ends it';
    like $app->{log}, qr/where the threads of process $app->{pid} are:\n.*\(main\)\n {4}/, '... after it has shown where it is';
    $app = start();
    undef $link;
    close $app->{out};
    is_answer(ask('/print_much'), 200, "hello world\n", 'length', 'a log that nobody reads kills nobody') for 1 .. 2;
    close $app->{in};
    ok eventually { waitpid($app->{pid}, WNOHANG) == $app->{pid} }, 'it ends';
    is $?, 0, 'with 0';
    forked($app);
}

# Threads

undef $link;
$app = start(concurrency => 4, keys => [ 'concurrency_model: thread', 'thread_count: 4' ]);
like $app->{log}, qr/session;4\n/, 'four threads take four requests';
{
    my @links = map { link_to($app) } 1 .. 4;
    put($_, pairs('/together?4')) for @links;
    is join(' ', map { answer($_)->{body} } @links), 'true true true true', '... at once, and rack.multithread says so';
    my @fifos = map { fifo() } 1 .. 4;
    put($links[$_], pairs("/waits?$fifos[$_]")) for 0 .. 3;
    my $fifth = link_to($app);
    put($fifth, pairs('/hello'));
    let_go($fifos[2]);
    is answer($links[2])->{body}, 'finished go', 'one of them ends';
    is answer($fifth)->{body}, "hello world\n", '... and the fifth has its turn';
    put($fifth, pairs("/hello"));
    is answer($fifth)->{body}, "hello world\n", '... on a connection that is kept';
    let_go($_) for @fifos[0, 1, 3];
    is scalar(grep { answer($_)->{body} eq 'finished go' } @links[0, 1, 3]), 3, 'the others end';
    $r = ask('/process');
    like $r->{body}, qr/^thread=false$/m, 'they run in threads of their own';
    is scalar(() = $r->{body} =~ /starting_request_handler_thread/g), 4, '... each of which was announced';
    hijacks('threads');
    ok !ask('/fails?middle')->{whole}, 'a response that is cut';
    undef $link;
    is_answer(ask('/hello'), 200, "hello world\n", 'length', '... leaves the others');
}
is stop($app), 0, 'they end';
undef $link;
$app = start(keys => [ 'concurrency_model: process', 'thread_count: 4' ]);
like $app->{log}, qr/session;1\n/, 'processes take one';
stop($app);
$app = start(concurrency => 0, app_with("PhusionPassenger.advertised_concurrency_level = 0\n$hello"));
like $app->{log}, qr/session;0\n/, 'unless the application says otherwise';
stop($app);

# Rack 3

$app = start(%rack3);
undef $link;
$r = ask('/show');
unlike $r->{body}, qr/^rack\.version/m, 'Rack 3 has no rack.version';
like $r->{body}, qr/^rack\.response_finished=\[\]$/m, 'but rack.response_finished';
usual('Rack 3');
bodies('Rack 3');
hijacks('Rack 3');
is_answer(ask('/stream?plain', body => 'the input'), 200, 'written and appended the input', 'chunked', 'a streaming body');
is_answer(ask('/stream?read', body => 'input'), 200, 'inp|ut', 'chunked', '... reads the input');
is_answer(ask('/stream?closed'), 200, 'all', 'chunked', '... is over when it was closed');
ok wait_log($app, qr/closed: true/), '... and knows it';
is_answer(ask('/hello'), 200, "hello world\n", 'length', '... and the connection is kept');
$r = ask('/stream?raise');
ok !$r->{whole} && $r->{closed} && $r->{body} eq 'begun', '... that fails is cut';
{
    my $fifo = fifo();
    my $l = link_to($app);
    put($l, pairs('/stream?thread', HTTP_X_FIFO => $fifo));
    my $text = '';
    while ($text !~ /first \r\n/) { IO::Select->new($l)->can_read($limit) && sysread($l, $text, 4096, length $text) or last }
    is_answer(ask('/hello'), 200, "hello world\n", 'length', '... may outlive its call: others are served');
    let_go($fifo);
    like rest_of($l), qr/^6\r\nsecond\r\n0\r\n\r\n\z/, '... until it is closed, and the connection with it';
}
ask('/after');
is ask('/after_said')->{body}, '["replied", "last", [200, "text/plain", NilClass]]', 'rack.response_finished is called, the last one first';
ask('/after?raise');
is ask('/after_said')->{body}, '["replied", "last", [nil, nil, RuntimeError]]', '... and told the exception' or diag $app->{log};
is stop($app), 0, 'it ends';

# Startup files

for my $name (qw(config.ru app.rb start)) {
    $app = start(app_with($hello, $name));
    undef $link;
    is_answer(ask('/'), 200, "hello world\n", 'length', "a startup file named $name");
    stop($app);
}
{
    my %arg = app_with("print 'partial'\nrequire 'own'\nuse(Class.new { def initialize(*) end; def call(_) [200, {}, [BEFORE.inspect]] end }) if ENV['ASK']\n$hello");
    mkdir "$arg{root}/config";
    mkdir "$arg{root}/lib";
    write_file("$arg{root}/config/setup_load_paths.rb", "\$LOAD_PATH.unshift(File.expand_path('../lib', __dir__))\nabort 'too late' if defined?(Rack)\n"
        . "BEFORE = \$LOADED_FEATURES.grep_v(%r{/loaders/ruby/}) - `\#{RbConfig.ruby} -e 'puts \$LOADED_FEATURES'`.split\n");
    write_file("$arg{root}/lib/own.rb", "raise 'twice' if defined?(OWN)\nOWN = 1\n");
    write_file("$arg{root}/$_.rb", "raise 'not this one'\n") for qw(socket stringio json rack);
    $app = start(%arg);
    undef $link;
    is_answer(ask('/'), 200, "hello world\n", 'length', 'config/setup_load_paths.rb, before Rack is loaded');
    like $app->{log}, qr/^partial\n!> Ready$/m, 'a partial line does not hide Ready';
    stop($app);
    $app = start(%arg, env => { ASK => 1 });
    undef $link;
    is ask('/')->{body}, '[]', '... before which nothing is loaded but what the interpreter has';
    stop($app);
    rename "$arg{root}/config", "$arg{root}/.bundle";
    rename "$arg{root}/.bundle/setup_load_paths.rb", "$arg{root}/.bundle/environment.rb";
    $app = start(%arg, env => { ASK => 1 });
    undef $link;
    is ask('/')->{body}, '[]', '.bundle/environment.rb does the same';
    stop($app);
    for my $first (0, 1) {
        my %arg = app_with("run lambda { |env| [200, {}, [FIRST.inspect]] }");
        mkdir "$arg{root}/.bundle";
        write_file("$arg{root}/.bundle/environment.rb", "FIRST = defined?(Bundler::SETUP_FIRST)\n");
        # What PassengerPreloadBundler loads, without the gem's own search for versions.
        mkdir "$arg{root}/$_" for qw(lib lib/bundler);
        write_file("$arg{root}/lib/bundler/setup.rb", "module Bundler; SETUP_FIRST = 1; end\n");
        $app = start(%arg, keys => ["preload_bundler: $first"], env => { RUBYLIB => "$arg{root}/lib" });
        undef $link;
        is ask('/')->{body}, $first ? '"constant"' : 'nil', $first ? 'PassengerPreloadBundler: bundler/setup comes first' : '... without which it is not loaded';
        stop($app);
    }
    $app = start(app_with("pid = fork\npid ? Process.wait(pid) : puts('the child')\n$hello"));
    undef $link;
    is_answer(ask('/'), 200, "hello world\n", 'length', 'a fork while loading');
    is scalar(() = $app->{log} =~ /^!> Ready/mg), 1, 'leaves one that is ready';
    stop($app);
    $app = start(app_with("\$stdout.reopen('/dev/null')\n$hello"));
    undef $link;
    is_answer(ask('/'), 200, "hello world\n", 'length', 'standard output in a file');
    stop($app);
    $app = start(app_with("trap('TERM') { puts 'own handler'; exit! 5 }\n$hello"));
    kill TERM => $app->{pid};
    is wait_exit($app), 5 << 8, "a handler of the application's for SIGTERM stays";
}

# Bundler: an application that wants another version than the newest of a gem, and one whose gems are missing.

SKIP: {
    skip 'Bundler is not there', 11 if system("$ruby -e 'require \"bundler\"' 2>/dev/null");
    my %arg = app_with("require 'pinned'\nrun lambda { |env| [200, {}, [\"#{PINNED} #{defined?(Bundler).inspect}\"]] }\n");
    for my $version (1, 2) {
        system 'mkdir', '-p', "$top/gems/pinned-$version/lib";
        write_file("$top/gems/pinned-$version/lib/pinned.rb", "PINNED = $version\n");
        write_file("$top/gems/pinned-$version/pinned.gemspec", "Gem::Specification.new { |s| s.name = 'pinned'; s.version = '$version'; s.summary = s.author = 'x'; s.files = [] }\n");
    }
    write_file("$arg{root}/Gemfile", "gem 'rack'\ngem 'pinned', path: '$top/gems/pinned-1'\n");
    my %env = (env => { HOME => $top });
    $app = start(%arg, %env, keys => [ 'preload_bundler: 1' ]);
    undef $link;
    is_answer(ask('/'), 200, '1 "constant"', 'length', 'the version that the Gemfile wants');
    stop($app);
    rename "$arg{root}/Gemfile", "$arg{root}/gems.rb";
    $app = start(%arg, %env);
    undef $link;
    is_answer(ask('/'), 200, '1 "constant"', 'length', '... or gems.rb');
    stop($app);
    unlink "$arg{root}/gems.rb";
    write_file("$arg{root}/Gemfile", "gem 'rack'\ngem 'no-such-gem-here', '~> 1.2'\n");
    refused('a gem that is not installed', { %arg, %env }, qr{^\S+/Gemfile: Bundler::GemNotFound: .*no-such-gem-here.*: run "bundle install" there}i);

    # Every gem that comes with Ruby in another version, but those that Ruby and Bundler need themselves, and a gem with files that are ours.
    my @gems = split ' ', `$ruby -e 'puts Gem::Specification.select(&:default_gem?).map(&:name) - %w[bundler]'`;
    for my $gem (@gems, 'passenger') {
        system 'mkdir', '-p', "$top/gems/all/$gem/lib/phusion_passenger/rack";
        write_file("$top/gems/all/$gem/$gem.gemspec", "Gem::Specification.new { |s| s.name = '$gem'; s.version = '99'; s.summary = s.author = 'x'; s.files = [] }\n");
        write_file("$top/gems/all/$gem/lib/$_.rb", "raise 'the wrong file'\n") for $gem eq 'passenger' ? qw(phusion_passenger phusion_passenger/rack/out_of_band_gc) : ();
    }
    while (1) {
        write_file("$arg{root}/Gemfile", "gem 'rack'\n" . join '', map { "gem '$_', path: '$top/gems/all/$_'\n" } @gems, 'passenger');
        my ($needed) = `cd $arg{root} && HOME=$top $ruby -rbundler/setup -e 1 2>&1` =~ /already activated (\S+)/ or last;
        @gems = grep { $_ ne $needed } @gems;
    }
    write_file("$arg{root}/config.ru", <<'END');
LOADED = [require('phusion_passenger'), require('phusion_passenger/rack/out_of_band_gc'), PhusionPassenger.require_passenger_lib('rack/out_of_band_gc')]
use PhusionPassenger::Rack::OutOfBandGc, 5
run lambda { |env| [200, {}, ["#{Gem.loaded_specs.values.count { |spec| spec.version.to_s == '99' }} #{LOADED.inspect}"]] }
END
    $app = start(%arg, %env);
    undef $link;
    cmp_ok scalar(@gems), '>', 20, 'Ruby comes with gems';
    is_answer(ask('/', body => 'x' x 10), 200, (@gems + 1) . ' [false, false, false]', 'length', 'another version of each of them, and a gem with files of the same names');
}

sub refused {
    my ($name, $arg, @patterns) = @_;
    my $app = launch(%$arg);
    wait_log($app, qr/^!> I have control 1\.0\n/);
    say_to($app, parameters($app));
    is wait_exit($app), 1 << 8, "$name: exit code 1";
    my ($text) = $app->{log} =~ /^!> Error\n\n(.*)/ms;
    ok defined $text, "$name: an error" or diag $app->{log};
    like $text // '', $_, "$name: $_" for @patterns;
    unlike $app->{log}, qr/!> Ready|rack-loader\.rb:/, "$name: nothing of ours in it";
}
refused('no startup file', { app_with(undef) }, qr/^\S+config\.ru: there is no such startup file: create it/);
refused('a syntax error', { app_with("x = 1\n\ndef f(\n  1 +\n") }, qr/^\S+config\.ru, line \d: SyntaxError: .*: correct that line/);
refused('a file that is missing', { app_with("x = 1\nrequire 'no_such_file_here'\n") },
    qr/^\S+config\.ru, line 2: LoadError: cannot load such file -- no_such_file_here: install what is missing for \S+ \(Ruby \d/, qr/^Interpreter: /m, qr/^Gems: \//m);
refused('no Rack', { app_with($hello), env => { RUBYOPT => '--disable-gems' } }, qr/LoadError: cannot load such file -- rack: install/);
refused('no application', { app_with("x = 1\n") }, qr/^\S+config\.ru.*(?:missing run|"run")/);
refused('an application that cannot be called', { app_with("run 5\n") }, qr/^\S+: it gives an application of class Integer/);
refused('exit', { app_with("x = 1\nexit 3\n") }, qr/^\S+, line 2: the application called exit\(3\)/);
refused('an exception', { app_with("def f\n  raise ArgumentError, \"why\\nnot\"\nend\nf\n") }, qr/^\S+, line 2: ArgumentError: why not: correct that/,
    qr/^\S+config\.ru:2:in \S+ why\nnot \(ArgumentError\)\n\tfrom /m);
refused('a cause', { app_with("begin\n  raise 'inner'\nrescue\n  raise 'outer'\nend\n") }, qr/line 4: RuntimeError: outer/, qr/^Cause: .*inner/m);
refused('a folder', { app_with(undef), startup => $top }, qr/^\S+: it is no file/);
refused('an event that fails', { app_with("PhusionPassenger.on_event(:starting_worker_process) { raise 'at the start' }\n$hello") }, qr/^\S+, line 1: RuntimeError: at the start/);
refused('an exception in another file', do {
    my %arg = app_with("require_relative 'mine'\n");
    write_file("$arg{root}/mine.rb", "\n\nraise 'no'\n");
    \%arg;
}, qr{^\S+/mine\.rb, line 3: RuntimeError: no});
$app = launch();
wait_log($app, qr/control/);
say_to($app, "You have control 2.0\n\n");
is wait_exit($app), 1 << 8, 'another version of the handshake is refused';
like $app->{log}, qr/^!> Error\n\nThe handshake began with "You have control 2\.0"/m, 'with a sentence';
$app = launch();
close $app->{in};
is wait_exit($app), 1 << 8, 'no handshake at all';
like $app->{log}, qr/no handshake on standard input/, 'is told too';

done_testing;
