# Ruby applications behind a real Apache: Rack, Sinatra, threads, streams, restarts, and starts that fail.
use strict;
use warnings;
use lib 't/lib';
use Test::More;
use IO::Socket::UNIX;
use Time::HiRes qw(time);
use Harness;

plan skip_all => 'Ruby is not there' if system('ruby -e "require %q(rack)" 2>/dev/null') != 0;
my $sinatra = system('ruby -e "require %q(sinatra/base)" 2>/dev/null') == 0;

my $rack = <<'END';
count = 0
run lambda { |env|
  count += 1
  case env["PATH_INFO"]
  when "/slow" then IO.select(nil, nil, nil, 1)
  when "/stream" then next [200, {"content-type" => "text/plain"}, Enumerator.new { |y| 3.times { |i| y << "block #{i}\n" } }]
  when "/raise" then raise "as it was told"
  end
  body = env["rack.input"].read
  text = [env["REQUEST_METHOD"], env["SCRIPT_NAME"], env["PATH_INFO"], env["QUERY_STRING"], env["rack.url_scheme"], env["HTTP_HOST"],
          body.bytesize, Process.pid, Process.uid, env["rack.multithread"], count].join("|")
  [200, {"content-type" => "text/plain", "x-version" => VERSION_OF_APP}, [text]]
}
END
sub source { "VERSION_OF_APP = '$_[0]'\n$rack" }

for my $mpm (Harness->mpms) {
    for my $part (qw(rack sinatra threads failures)) {
        subtest "$mpm: $part" => sub { no strict 'refs'; &$part($mpm) };
    }
}
subtest debugger => \&debugger; # one MPM is enough: all of it happens in the application's process
done_testing;

sub rack {
    my ($mpm) = @_;
    my $h = Harness->new(mpm => $mpm);
    my $app = $h->make_app('shop', { 'config.ru' => source('one'), 'public/page.txt' => "a file\n" });
    $h->start(conf => "DocumentRoot $app/public\nPassengerStatThrottleRate 0\nAlias /sub $app/public\n<Location /sub>\nPassengerBaseURI /sub\nPassengerAppRoot $app\n</Location>");
    my $r = $h->get('/a/b%20c?x=1', Host => 'shop.example');
    is $r->status, 200, 'it serves' or diag $h->log_text;
    my @env = split /\|/, $r->body // '';
    is join('|', @env[0 .. 6]), 'GET||/a/b%20c|x=1|http|shop.example|0', '... and is told what Rack wants';
    is $env[8], (getpwnam $h->app_user)[2], '... as its owner' unless $>;
    is((split /\|/, $h->get('/sub/x')->body)[1], '/sub', '... below a path too');
    is $h->get('/page.txt')->body, "a file\n", 'files are served by Apache';
    is((split /\|/, $h->post('/p', 'abc' x 100_000)->body)[6], 300_000, 'a body arrives');
    is $h->get('/stream')->body, "block 0\nblock 1\nblock 2\n", 'a stream';
    is $h->get('/raise')->status, 500, 'an exception is a 500';
    $h->expect_log(qr/as it was told/);
    my $load = $h->wrk('/', connections => 8, duration => 2, close => 1)->finish;
    is $load->{bad}, 0, "no request of $load->{requests} failed";
    spew("$app/config.ru", source('two'));
    $h->own($app, $h->app_user);
    spew("$app/tmp/restart.txt", '');
    soon { ($h->get('/')->header('x-version') // '') eq 'two' } 'a restart brings new code', 8;
}

sub sinatra {
    my ($mpm) = @_;
    plan skip_all => 'Sinatra is not there' if !$sinatra;
    my $h = Harness->new(mpm => $mpm);
    my $app = $h->make_app('shop', { 'config.ru' => "require './shop'\nrun Shop\n", 'public/style.css' => "p {}\n", 'shop.rb' => <<'END' });
require 'sinatra/base'
class Shop < Sinatra::Base
  enable :sessions
  set :session_secret, 'x' * 64
  error(ZeroDivisionError) { 'divided' }
  get('/hello/:name') { "hello #{params['name']}" }
  post('/form') { params['a'] }
  get('/url') { "#{url('/x')} #{to('/y?z', false)} #{request.ip} #{request.secure?}" }
  get('/go') { redirect to('/url') }
  get('/count') { (session[:n] = session[:n].to_i + 1).to_s }
  get('/stream') { stream { |out| 3.times { |i| out << "#{i} " } } }
  get('/kept') { stream(:keep_open) { |out| Thread.new { out << 'kept'; out.close }.join } }
  get('/file') { send_file __FILE__, type: :txt, disposition: :attachment }
  get('/cached') { etag 'one'; 'fresh' }
  get('/divide') { 1 / 0 }
  post('/upload') { params['f'][:tempfile].read.bytesize.to_s }
end
END
    $h->start(conf => "DocumentRoot $app/public\n<VirtualHost *>\nServerName root\n</VirtualHost>\n<VirtualHost *>\nServerName below\nAlias /sub $app/public\n"
        . "<Location /sub>\nPassengerBaseURI /sub\nPassengerAppRoot $app\nPassengerAppGroupName below\n</Location>\n</VirtualHost>");
    for my $place (['root', ''], ['below', '/sub']) {
        my ($host, $base) = @$place;
        my $get = sub { my ($path, @field) = @_; $h->get("$base$path", Host => $host, @field) };
        is $get->('/hello/world')->body, 'hello world', "$host: a route" or diag $h->log_text;
        is $h->post("$base/form", 'a=b%20c', 'Content-Type' => 'application/x-www-form-urlencoded', Host => $host)->body, 'b c', '... a form';
        is $get->('/url')->body, "http://$host$base/x $base/y?z 127.0.0.1 false", '... URLs of its own';
        is $get->('/go')->header('location'), "http://$host$base/url", '... a redirect';
        is $get->('/nowhere')->status, 404, '... no route';
        is $get->('/style.css')->body, "p {}\n", '... a file';
        my ($cookie, $n) = ('', 0);
        for (1 .. 3) {
            my $r = $get->('/count', Cookie => $cookie);
            ($cookie) = ($r->header('set-cookie') // '') =~ /^([^;]+)/;
            $n = $r->body;
        }
        is $n, 3, '... a session';
    }
    is $h->get('/stream')->body, '0 1 2 ', 'a stream';
    is $h->get('/kept')->body, 'kept', '... from a thread';
    my $r = $h->get('/file');
    is $r->body, slurp("$app/shop.rb"), 'a file that it sends';
    like $r->header('content-disposition'), qr/attachment; filename="shop\.rb"/, '... with its name';
    my $etag = $h->get('/cached')->header('etag');
    is $h->get('/cached', 'If-None-Match' => $etag)->status, 304, 'what has not changed';
    $r = $h->get('/divide');
    is $r->status . $r->body, '500divided', 'an error page of its own';
    my $body = "--x\r\nContent-Disposition: form-data; name=\"f\"; filename=\"a\"\r\n\r\n" . 'y' x 500_000 . "\r\n--x--\r\n";
    is $h->post('/upload', $body, 'Content-Type' => 'multipart/form-data; boundary=x')->body, 500_000, 'an upload';
}

sub threads {
    my ($mpm) = @_;
    my $h = Harness->new(mpm => $mpm);
    my $app = $h->make_app('shop', { 'config.ru' => source('one') });
    $h->start(conf => ($mpm eq 'prefork' ? "StartServers 8\nMinSpareServers 8\n" : '')
        . "DocumentRoot $app/public\nPassengerMaxPoolSize 1\nPassengerConcurrencyModel thread\nPassengerThreadCount 4");
    is((split /\|/, $h->get('/')->body)[9], 'true', 'rack.multithread');
    my $begin = time;
    my @c = map { my $c = $h->client(timeout => 10); $c->write_request('GET', '/slow', Connection => 'close'); $c } 1 .. 4;
    is scalar(grep { $_->read_response('GET')->status == 200 } @c), 4, 'four slow requests';
    cmp_ok time - $begin, '<', 2.5, '... at the same time';
    is scalar($h->apps), 1, '... in one process';
}

sub failures {
    my ($mpm) = @_;
    my $h = Harness->new(mpm => $mpm);
    my $app = $h->make_app('shop', { 'config.ru' => "require 'nosuchgem'\n" });
    $h->start(conf => "DocumentRoot $app/public\nPassengerFriendlyErrorPages on");
    my $r = $h->get('/');
    is $r->status, 500, 'a start that fails is a 500';
    like $r->body, qr/nosuchgem/, '... and the page says why';
    $h->expect_log(qr/PSG0113: spawn\.failed: .*config\.ru.*nosuchgem/);
}

# Speaks the debugger's own language, as rdbg does.
sub debugger {
    my $version = `ruby -e 'require "debug/session"; require "debug/version"; print DEBUGGER__::VERSION' 2>/dev/null`;
    plan skip_all => 'the gem debug is not there' if !$version;
    my $h = Harness->new;
    my $app = $h->make_app('shop', { 'config.ru' => "run lambda { |env| [200, { 'content-type' => 'text/plain' }, [Process.pid.to_s]] }\n" });
    $h->start(conf => "DocumentRoot $app/public\nPassengerDebugger on\nSetEnv RUBY_DEBUG_SOCK_DIR $app/tmp");
    my $pid = $h->get('/')->body;
    my $socket = wait_for { (glob "$app/tmp/ruby-debug-*-$pid")[0] };
    ok $socket && -S $socket, 'a process has a socket for the debugger' or return diag $h->log_text;
    my $debugger = IO::Socket::UNIX->new(Peer => $socket) or die "connect: $!";
    local $SIG{ALRM} = sub { die "the debugger says nothing more\n" };
    alarm 30;
    $debugger->printflush("version: $version width: 80 cookie: \n");
    my $said;
    while (!defined $said && defined($_ = <$debugger>)) {
        $debugger->printflush("command $pid 80 p Process.pid + 1\n") if /^input $pid/;
        $said = $1 if /=> (\d+)/;
    }
    is $said, $pid + 1, '... which can stop it and look at it';
    is((stat $socket)[4], (getpwnam $h->app_user)[2], '... and is its owner\'s') if !$>;
    $h->allow_log('PSG0103', 'PSG0150');   # who leaves the debugger ends what it has stopped
    alarm 0;
}
