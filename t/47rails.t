# A Rails application as `rails new` and `rails generate scaffold` write it, deployed as Passenger's documentation says: at the root of a virtual host,
# and below a path. Its Gemfile names the parts that Debian packages instead of the gem "rails", which wants all of them. One MPM is enough: the
# application is what is tried.
use strict;
use warnings;
use lib 't/lib';
use Digest::SHA qw(sha1_hex);
use Test::More;
use Harness;

plan skip_all => 'Rails is not there' if system('ruby -e "require %q(rails); require %q(active_record); require %q(sqlite3)" 2>/dev/null') != 0;
my $mpm = (Harness->mpms)[0];
my $h = Harness->new(mpm => $mpm);
my $app = $h->make_app('shop', {});
generate($app);
system('cp', '-a', $app, "$h->{root}/apps/$_") == 0 or die 'cp' for qw(below threads);
$h->start(conf => <<"END");
PassengerMaxPoolSize 4
PassengerMinInstances 2
<VirtualHost *>
    ServerName root.example
    DocumentRoot $app/public
</VirtualHost>
<VirtualHost *>
    ServerName below.example
    Alias /shop $h->{root}/apps/below/public
    <Location /shop>
        PassengerBaseURI /shop
        PassengerAppRoot $h->{root}/apps/below
    </Location>
</VirtualHost>
<VirtualHost *>
    ServerName threads.example
    DocumentRoot $h->{root}/apps/threads/public
    PassengerConcurrencyModel thread
    PassengerThreadCount 5
    PassengerMinInstances 1
    PassengerMaxInstances 1
</VirtualHost>
END

for my $place (['root.example', ''], ['below.example', '/shop']) {
    subtest "at $place->[0]$place->[1]" => sub { visit(@$place) };
}
subtest 'the rest' => \&others;
subtest threads => \&threads;
$h->finish;
done_testing;

sub run_in {
    my ($dir, @command) = @_;
    my $out = "$h->{root}/logs/command";
    my $pid = fork // die "fork: $!";
    if (!$pid) {
        chdir $dir;
        @ENV{qw(HOME RAILS_ENV)} = ($h->{root}, 'production');
        open STDOUT, '>', $out;
        open STDERR, '>&', \*STDOUT;
        exec @command or POSIX::_exit(127);
    }
    waitpid $pid, 0;
    is $?, 0, "@command" or diag slurp($out);
}

sub generate {
    my ($dir) = @_;
    system('rm', '-rf', $dir);
    run_in("$h->{root}/apps", qw(rails new shop --minimal --skip-bundle --skip-git --skip-test --skip-sprockets --skip-listen --quiet));
    my $gems = slurp("$dir/Gemfile");
    $gems =~ s/^gem 'rails'.*/gem 'railties'\ngem 'actionpack'\ngem 'activerecord'/m;
    $gems =~ s/^.*(?:puma|byebug|tzinfo-data).*\n//mg;
    spew("$dir/Gemfile", $gems);
    run_in($dir, qw(bin/rails generate scaffold item name:string));
    run_in($dir, qw(bin/rails db:migrate));
    spew("$dir/app/controllers/odd_controller.rb", <<'END');
class OddController < ApplicationController
  include ActionController::Live
  skip_forgery_protection
  def live
    response.headers['Content-Type'] = 'text/plain'
    3.times { |i| response.stream.write("line #{i}\n") }
  ensure
    response.stream.close
  end
end
END
    spew("$dir/app/controllers/more_controller.rb", <<'END');
class MoreController < ApplicationController
  skip_forgery_protection
  def file = send_file(Rails.root.join('config.ru'), type: 'text/plain')
  def digest = render(plain: "#{params[:file].original_filename} #{Digest::SHA1.hexdigest(params[:file].read)}")
  def fail = raise('Rails was told to fail')
  def facts = render(json: { root: ENV['RAILS_RELATIVE_URL_ROOT'], env: Rails.env, script: request.script_name, url: items_url, path: request.fullpath,
                             asset: helpers.image_path('a.png'), ip: request.remote_ip, ssl: request.ssl?, thread: Thread.current == Thread.main })
  def count = (session[:n] = session[:n].to_i + 1) && render(plain: session[:n].to_s)
end
END
    spew("$dir/config/routes.rb", <<'END');
Rails.application.routes.draw do
  resources :items
  get '/live', to: 'odd#live'
  post '/digest', to: 'more#digest'
  %w[file fail facts count].each { |name| get "/#{name}", to: "more##{name}" }
  root to: 'items#index'
end
END
    $h->own($dir, $h->app_user);
}

sub visit {
    my ($host, $base) = @_;
    my @host = (Host => $host);
    my $r = $h->get("$base/", @host);
    is $r->status, 200, 'the front page' or diag $h->log_text;
    like $r->body, qr{<h1>Items</h1>}, '... is the list';
    like $r->body, qr{href="\Q$base\E/items/new"}, '... whose links lead back';
    like $r->body, qr{href="\Q$base\E/stylesheets/application\.css"}, '... as those to files do';
    is_deeply $r->{interim}, [], '... and who is no browser gets no hints';
    $r = $h->get("$base/", @host, 'Sec-Fetch-Mode' => 'navigate');
    is_deeply [ map { [$_->status, $_->headers('Link')] } @{ $r->{interim} } ], [[103, "<$base/stylesheets/application.css>; rel=preload; as=style; nopush"]],
        'a browser gets early hints, by itself' or diag explain $r->{interim};
    is $h->get("$base/robots.txt", @host)->header('content-type'), 'text/plain', 'files are served by Apache';
    my $c = $h->client;
    $r = $c->get("$base/items/new", @host);
    my ($token) = $r->body =~ /name="authenticity_token" value="([^"]+)"/;
    my ($cookie) = ($r->header('set-cookie') // '') =~ /^([^;]+)/;
    ok $token && $cookie, 'a form with a token, and a session';
    s/([^\w])/sprintf '%%%02X', ord $1/ge for $token;
    my @form = ('Content-Type' => 'application/x-www-form-urlencoded', Cookie => $cookie, @host);
    is $h->post("$base/items", 'item[name]=forged', @form)->status, 422, 'a form without the token is refused';
    $r = $h->post("$base/items", "authenticity_token=$token&item[name]=a%20bottle%20of%20%C3%A9ther", @form);
    is $r->status, 302, 'with it an item is made';
    like $r->header('location') // '', qr{^http://\Q$host$base\E/items/\d+$}, '... and the visitor sent there';
    my ($path) = ($r->header('location') // '/') =~ m{^http://[^/]+(/.*)};
    $cookie = $1 if ($r->header('set-cookie') // '') =~ /^([^;]+)/;
    $r = $h->get($path, @host, Cookie => $cookie);
    like $r->body, qr/Item was successfully created/, '... with a message that the session kept';
    like $r->body, qr/a bottle of \xc3\xa9ther/, '... which the database has';
    ($token) = $h->get("$path/edit", @host, Cookie => $cookie)->body =~ /name="authenticity_token" value="([^"]+)"/;
    s/([^\w])/sprintf '%%%02X', ord $1/ge for $token;
    is $h->post($path, "_method=patch&authenticity_token=$token&item[name]=a%20glass", 'Content-Type' => 'application/x-www-form-urlencoded',
        Cookie => $cookie, @host)->status, 302, 'it can be changed';
    like $h->get($path, @host)->body, qr/a glass/, '... and is';
    my $facts = $h->get("$base/facts?a=b", @host)->json;
    is $facts->{root} // '', $base, 'RAILS_RELATIVE_URL_ROOT';
    is $facts->{script}, $base, '... is the script name';
    is $facts->{path}, "$base/facts?a=b", 'the path, whole';
    is $facts->{url}, "http://$host$base/items", 'URLs of its own';
    is $facts->{asset}, "$base/images/a.png", '... and of files';
    is $facts->{env}, 'production', 'RAILS_ENV';
    is $facts->{ip}, '127.0.0.1', 'the visitor';
    is $h->get("$base/live", @host)->body, "line 0\nline 1\nline 2\n", 'a live stream';
}

sub others {
    my @host = (Host => 'root.example');
    my $r = $h->get('/file', @host);
    is $r->body, slurp("$app/config.ru"), 'send_file';
    my $file = join '', map { chr rand 256 } 1 .. 300_000;
    my $body = "--x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.bin\"\r\nContent-Type: application/octet-stream\r\n\r\n$file\r\n--x--\r\n";
    is $h->post('/digest', $body, 'Content-Type' => 'multipart/form-data; boundary=x', @host)->body, 'a.bin ' . sha1_hex($file), 'an upload';
    $r = $h->get('/fail', @host);
    is $r->status, 500, 'an error';
    like $r->body, qr/We're sorry, but something went wrong/, '... shows the page of the application';
    like slurp("$app/log/production.log"), qr/Rails was told to fail/, '... and is in its log';
    is $h->get('/nowhere', @host)->status, 404, 'no such page';
    my ($cookie, $n) = ('');
    for (1 .. 3) {
        $r = $h->get('/count', @host, Cookie => $cookie);
        ($cookie) = $r->header('set-cookie') =~ /^([^;]+)/;
        $n = $r->body;
    }
    is $n, 3, 'a session lasts, whichever process it is';
}

sub threads {
    my @host = (Host => 'threads.example');
    is $h->get('/facts', @host)->json->{thread}, 0, 'a thread of its own' or diag $h->log_text;
    my @c = map { my $c = $h->client(timeout => 20); $c->write_request('GET', $_ % 2 ? '/items' : '/live', Connection => 'close', @host); $c } 1 .. 20;
    is scalar(grep { my $r = $_->read_response('GET'); $r->status == 200 && $r->complete } @c), 20, 'requests at once';
}
